"""Starts a process for each pending run, adopts those of a server that was killed, and restarts what died.

Level-triggered: every pass compares the database with the processes that exist, so a pass may be lost or repeated.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass

from local.pipelines import processes
from local.pipelines.database import Row, append_history, history_entry
from local.pipelines.runs import Runs, finish, requeue
from local.pipelines.serializers import FINISHED
from local.storage import StorageError, StorageMonitor

log = logging.getLogger(__name__)
GRACE_SECONDS = 5.0
END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`parallel` runs at a time; `attempts` starts of one run before it counts as failed."""

    parallel: int = 1
    attempts: int = 3


class Scheduler:
    def __init__(self, runs: Runs, limits: Limits, watch: StorageMonitor) -> None:
        self._runs = runs
        self._database = runs.database
        self._folder = runs.root
        self._limits = limits
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._deadlines: dict[str, float] = {}
        self._watch = watch
        self._begun = time.monotonic()
        self._started: dict[str, float] = {}

    def reconcile(self) -> None:
        """One pass over every run that is not finished or is deleted."""
        for row in self._database.fetch_all(
            "SELECT * FROM runs WHERE state IN ('RUNNING', 'CANCELING') OR deleted = 1 ORDER BY seq"
        ):
            try:
                self._reconcile_run(row)
            except StorageError:
                raise
            except (OSError, TimeoutError) as error:
                log.warning("run %s: %s; trying again", row["id"], error)
        self._reap_finished()
        self._start_waiting()

    def stop(self) -> None:
        """Ends the runs' processes; the next start of the server continues their runs."""
        rows = self._database.fetch_all("SELECT * FROM runs WHERE state IN ('RUNNING', 'CANCELING')")
        for row in rows:
            processes.signal_all(self._mark(row), signal.SIGTERM)
        for row in rows:
            processes.kill_all(self._mark(row), END_SECONDS)
            self._reap(row["id"])
            # What cannot be written now, the next start finds by itself.
            with suppress(StorageError), self._database.writing():
                current = self._database.fetch_one("SELECT * FROM runs WHERE id = ? AND state = 'RUNNING'", row["id"])
                if current:
                    requeue(self._database, current, "the platform was stopped", refund=True)

    def _reconcile_run(self, row: Row) -> None:
        if row["deleted"]:
            self._delete(row)
        elif row["state"] == "CANCELING":
            if self._terminate(row):
                self._settle(row["id"], "CANCELING", "CANCELED", "terminated")
        elif not self._is_alive(row):
            self._handle_dead_process(row)

    def _is_alive(self, row: Row) -> bool:
        if child := self._children.get(row["id"]):
            return child.poll() is None
        pids = processes.find_all(self._mark(row))
        # The process itself: steps that outlived it do not count. One that just started has not recorded its id yet.
        return row["pid"] in pids if row["pid"] else bool(pids)

    def _handle_dead_process(self, row: Row) -> None:
        """The run's process ended without a result, unless it has written one meanwhile."""
        child = self._children.pop(row["id"], None)
        processes.kill_all(self._mark(row), END_SECONDS)
        with self._database.writing():
            current = self._database.fetch_one("SELECT * FROM runs WHERE id = ? AND state = 'RUNNING'", row["id"])
            if current is None or current["attempt"] != row["attempt"]:
                return
            starts = current["attempt"] - current["first_attempt"]
            status = "" if child is None else f" ({_status(child.returncode)})"
            reason = f"the run's process ended without a result{status}, start {starts} of {self._limits.attempts}"
            if self._watch.failed_since(self._started.get(row["id"], self._begun)):
                reason += "; not counted, because the disk could not be written meanwhile"
                log.warning("run %s: %s", row["id"], reason)
                requeue(self._database, current, reason, refund=True)
                return
            log.warning("run %s: %s", row["id"], reason)
            if starts >= self._limits.attempts:
                finish(self._database, current, "FAILED", reason)
            else:
                requeue(self._database, current, reason, refund=False)

    def _terminate(self, row: Row) -> bool:
        deadline = self._deadlines.setdefault(row["id"], time.monotonic() + GRACE_SECONDS)
        kind = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        self._reap(row["id"], wait=False)
        if processes.signal_all(self._mark(row), kind):
            return False
        self._deadlines.pop(row["id"], None)
        self._reap(row["id"])
        return True

    def _delete(self, row: Row) -> None:
        processes.kill_all(self._mark(row), END_SECONDS)
        self._reap(row["id"])
        shutil.rmtree(self._runs.folder(row["id"]), ignore_errors=True)
        with self._database.writing():
            self._database.execute("DELETE FROM tasks WHERE run_id = ?", row["id"])
            self._database.execute("DELETE FROM runs WHERE id = ?", row["id"])

    def _start_waiting(self) -> None:
        busy = self._database.fetch_one(
            "SELECT count(*) FROM runs WHERE state IN ('RUNNING', 'CANCELING') AND deleted = 0"
        )
        free = self._limits.parallel - (busy[0] if busy else 0)
        sql = "SELECT * FROM runs WHERE state = 'PENDING' AND deleted = 0 ORDER BY seq LIMIT ?"
        waiting = self._database.fetch_all(sql, max(free, 0))
        if waiting and self._watch.failures():
            return  # it could not even write its log
        for row in waiting:
            with self._database.writing():
                change = """UPDATE runs SET state = 'RUNNING', attempt = attempt + 1, pid = 0, history = ?
                    WHERE id = ? AND state = 'PENDING'"""
                if not self._database.execute(
                    change, append_history(row["history"], history_entry("RUNNING")), row["id"]
                ):
                    continue
            key, attempt = row["id"], row["attempt"] + 1
            self._reap(key)
            self._started[key] = time.monotonic()
            files = self._runs.folder(key)
            try:
                self._children[key] = processes.start(self._folder, key, attempt, files, dict(os.environ))
            except OSError as error:  # the next pass finds it without a process
                log.warning("run %s cannot be started: %s", key, error)

    def _settle(self, key: str, before: str, state: str, reason: str) -> None:
        with self._database.writing():
            current = self._database.fetch_one("SELECT * FROM runs WHERE id = ? AND state = ?", key, before)
            if current:
                finish(self._database, current, state, reason)

    def _reap(self, key: str, *, wait: bool = True) -> None:
        """Forgets a child that has ended, which would otherwise stay a zombie."""
        child = self._children.get(key)
        if child is None:
            return
        if wait:
            child.wait(END_SECONDS)
        if child.poll() is not None:
            del self._children[key]

    def _reap_finished(self) -> None:
        """Forgets the processes that wrote a result, and kills what their steps left behind, as a pod's end would."""
        for key, child in list(self._children.items()):
            if child.poll() is None:
                continue
            row = self._database.fetch_one("SELECT state FROM runs WHERE id = ?", key)
            if row is None or row["state"] in FINISHED:
                del self._children[key]
                self._started.pop(key, None)
                processes.kill_all(processes.mark(self._folder, key), END_SECONDS)

    def _mark(self, row: Row) -> str:
        return processes.mark(self._folder, row["id"])


def _status(code: int | None) -> str:
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit status {code}"
