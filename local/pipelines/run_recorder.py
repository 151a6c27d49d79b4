"""What a run's process records of it. Every write first makes sure that the run is still this process's."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar

from local.pipelines import processes
from local.pipelines.database import PipelineDatabase, Row, append_history, history_entry, now, timestamp
from local.pipelines.runs import add_task, finish, task_id
from local.storage import retry_while_unwritable

P = ParamSpec("P")
T = TypeVar("T")


def _retried(method: Callable[P, T]) -> Callable[P, T]:
    """One transaction, retried until the database accepts it: what has happened is recorded, however late."""

    @functools.wraps(method)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        return retry_while_unwritable(lambda: method(*arguments, **named), "what happened cannot be recorded")

    return call


class RunRecorder:
    def __init__(self, database: PipelineDatabase, run: str, attempt: int) -> None:
        self.run = run
        self._database = database
        self._attempt = attempt
        self._started: dict[str, float] = {}
        self._failed_steps: set[str] = set()

    @_retried
    def begin(self) -> Row:
        """The run, now ours: from here on a killed server finds this process."""
        with self._owned_run() as row:
            self._database.execute("UPDATE runs SET pid = ? WHERE id = ?", os.getpid(), self.run)
        return row

    @_retried
    def task_started(self, path: tuple[str, ...]) -> None:
        joined = "/".join(path)
        with self._owned_run():
            add_task(self._database, self.run, path, path[-1])
            task = self._task(joined)
            change = """UPDATE tasks SET state = 'RUNNING', executions = executions + 1, finished_at = '', error = '',
                started_at = CASE started_at WHEN '' THEN ? ELSE started_at END, history = ? WHERE id = ?"""
            began = self._step_times(joined)[0] or now()
            self._database.execute(change, began, append_history(task["history"], history_entry("RUNNING")), task["id"])
        self._started[joined] = time.monotonic()

    @_retried
    def task_finished(
        self, path: tuple[str, ...], state: str, error: str = "", outputs: Mapping[str, Any] | None = None
    ) -> None:
        joined = "/".join(path)
        with self._owned_run():
            task = self._task(joined)
            change = """UPDATE tasks SET state = ?, error = ?, outputs = ?, started_at = ?, finished_at = ?, history = ?
                WHERE id = ?"""
            history = append_history(task["history"], history_entry(state, error))
            # A group lasts from its first step's start to its last step's end, whichever attempt they ran in.
            first, last = self._step_times(joined)
            began, ended = first or task["started_at"], last or self._end_time(joined, task["started_at"])
            self._database.execute(change, state, error, json.dumps(outputs or {}), began, ended, history, task["id"])

    @_retried
    def task_retried(self, path: tuple[str, ...], error: str) -> None:
        """An execution failed and another one follows."""
        with self._owned_run():
            task = self._task("/".join(path))
            history = append_history(task["history"], history_entry("FAILED", error), history_entry("RUNNING"))
            change = "UPDATE tasks SET history = ?, executions = executions + 1 WHERE id = ?"
            self._database.execute(change, history, task["id"])

    @_retried
    def task_skipped(self, path: tuple[str, ...]) -> None:
        with self._owned_run():
            task = self._task("/".join(path))
            if task["state"] == "PENDING":
                change = "UPDATE tasks SET state = 'SKIPPED', history = ? WHERE id = ?"
                self._database.execute(change, append_history(task["history"], history_entry("SKIPPED")), task["id"])

    @_retried
    def succeeded(self, path: tuple[str, ...]) -> dict[str, Any] | None:
        """The outputs of a task that succeeded in an earlier attempt at this run."""
        sql = "SELECT outputs FROM tasks WHERE id = ? AND state = 'SUCCEEDED'"
        row = self._database.fetch_one(sql, task_id(self.run, "/".join(path)))
        return json.loads(row[0]) if row else None

    def step_failed(self, path: tuple[str, ...], error: str) -> None:
        """A step's own process failed, as opposed to a group around it, or a task that could not be executed."""
        self._failed_steps.add("/".join(path))
        self.task_finished(path, "FAILED", error)

    @_retried
    def cause_of_failure(self) -> Row | None:
        """The task that explains why the run failed: the first step that did, or else the first task; None if none."""
        sql = "SELECT * FROM tasks WHERE run_id = ? AND state = 'FAILED' ORDER BY finished_at, seq"
        failed = self._database.fetch_all(sql, self.run)
        steps = [task for task in failed if task["path"] in self._failed_steps]
        return next(iter([*steps, *failed]), None)

    @_retried
    def finish(self, state: str, error: str = "") -> None:
        """The run's result, with its last tasks' states, in one transaction."""
        with self._owned_run() as row:
            finish(self._database, row, state, error)

    @contextmanager
    def _owned_run(self) -> Iterator[Row]:
        with self._database.writing():
            sql = "SELECT * FROM runs WHERE id = ? AND attempt = ? AND state = 'RUNNING' AND deleted = 0"
            row = self._database.fetch_one(sql, self.run, self._attempt)
            if row is None:
                exit_superseded()
            yield row

    def _step_times(self, group: str) -> tuple[str, str]:
        """When the first of the tasks inside started and the last one ended, "" where there is none."""
        row = self._database.fetch_one(
            """SELECT min(nullif(started_at, '')), max(finished_at) FROM tasks
            WHERE run_id = ? AND substr(path, 1, ?) = ? AND started_at <> ''""",
            self.run, len(group) + 1, group + "/",
        )  # fmt: skip
        return (row[0] or "", row[1] or "") if row else ("", "")

    def _end_time(self, path: str, started: str) -> str:
        """Now, by a clock that nobody sets: a task's duration is right even if the machine's clock was changed."""
        began = self._started.get(path)
        if began is None or not started:
            return now()
        return timestamp(datetime.fromisoformat(started) + timedelta(seconds=time.monotonic() - began))

    def _task(self, path: str) -> Row:
        row = self._database.fetch_one("SELECT * FROM tasks WHERE id = ?", task_id(self.run, path))
        if row is None:
            raise LookupError(f"task {path} was never added")
        return row


def exit_superseded() -> NoReturn:
    """Another attempt, a cancellation or a result came first: there is nothing left to do or to write."""
    if os.getpgrp() == os.getpid():
        # Its steps too; SIGKILL to ourselves would hide why.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    os._exit(processes.SUPERSEDED)
