"""Runs of the retraining pipeline for people: what each was started for, its steps in time order, what came of it.

Read from the pipeline server (v2beta1, embedded or Kubeflow's own) and the loop's database. Times are Unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict

from common import links
from common.environment import text
from common.names import MODEL
from common.rfc3339 import unix_seconds

if TYPE_CHECKING:
    from sqlalchemy import Row

Json = dict[str, Any]

RUNS = 25
REQUESTS = 200
"""The newest requests, among which a run's is looked for."""
_RETRY = re.compile(r"(?P<name>.+)\((?P<attempt>\d+)\)")


class Requested(TypedDict):
    """The loop's own record of a run; `readmodels.versions.cause` has the drift check behind its `key`."""

    key: str
    state: str
    reason_code: str
    initiated_by: str
    reason: str
    attempt: int
    version: str | None
    error: str
    created_at: float


class RunLine(TypedDict):
    """`state` is the server's (SUCCEEDED, RUNNING, FAILED …). `requested` is None for others' runs."""

    run_id: str
    name: str
    state: str
    created_at: float | None
    finished_at: float | None
    archived: bool
    error: str
    requested: Requested | None


class Step(TypedDict):
    """`attempt` counts from 0, None for a step that was not retried. `depth` is 0 for a step of the pipeline itself."""

    name: str
    attempt: int | None
    state: str
    started_at: float | None
    ended_at: float | None
    error: str
    depth: int


class RunFacts(RunLine):
    """`parameters` as they were given. `page` is the server's own page of the run."""

    description: str
    parameters: dict[str, Any]
    steps: list[Step]
    page: str


class Schedule(TypedDict):
    name: str
    when: str
    enabled: bool


class Uploaded(TypedDict):
    """A version of the pipeline."""

    name: str
    created_at: float | None


class PipelinesFacts(TypedDict):
    """Runs and versions newest first. `database` says why the runs' requests are unknown, "" where they are known."""

    runs: list[RunLine]
    schedules: list[Schedule]
    versions: list[Uploaded]
    database: str


def read(environ: Mapping[str, str]) -> PipelinesFacts:
    """SettingError or UnavailableError where the pipeline server is not named or does not answer."""
    from common.kubeflow import KubeflowClient

    server = KubeflowClient(environ)
    runs = server.latest_runs(RUNS)
    requests, problem = _requests(environ)
    return {
        "runs": [_line(run, requests) for run in runs],
        "schedules": [_schedule(each) for each in server.schedules()],
        "versions": [
            {"name": str(each.get("display_name") or each.get("name") or ""), "created_at": _at(each, "created_at")}
            for each in server.versions()
        ],
        "database": problem,
    }


def run(environ: Mapping[str, str], run_id: str) -> RunFacts | None:
    """One run with its steps; None where the server has none of this id."""
    from common.kubeflow import KubeflowClient

    found = KubeflowClient(environ).run(run_id)
    if found is None:
        return None
    requests, _ = _requests(environ)
    return {
        **_line(found, requests),
        "description": str(found.get("description") or ""),
        "parameters": dict((found.get("runtime_config") or {}).get("parameters") or {}),
        "steps": steps(found),
        "page": links.pipeline_run(environ, run_id),
    }


def steps(run: Mapping[str, Any]) -> list[Step]:
    """In the order in which they started; those that have not come last. Kubeflow's group around all is left out."""
    tasks = list((run.get("run_details") or {}).get("task_details") or ())
    parents = {str(task.get("task_id")): str(task.get("parent_task_id") or "") for task in tasks}
    ordered = sorted(tasks, key=lambda task: (_at(task, "start_time") is None, _at(task, "start_time") or 0.0))
    return [_step(task, parents) for task in ordered if str(task.get("display_name")) not in ("root", "driver")]


def _step(task: Mapping[str, Any], parents: Mapping[str, str]) -> Step:
    name = str(task.get("display_name") or task.get("task_id") or "?")
    retried = _RETRY.fullmatch(name)
    return {
        "name": retried["name"] if retried else name,
        "attempt": int(retried["attempt"]) if retried else None,
        "state": str(task.get("state") or "PENDING"),
        "started_at": _at(task, "start_time"),
        "ended_at": _at(task, "end_time"),
        "error": " ".join(str((task.get("error") or {}).get("message") or "").split()),
        "depth": _depth(str(task.get("task_id")), parents),
    }


def _depth(task: str, parents: Mapping[str, str]) -> int:
    depth, seen = 0, {task}
    while (task := parents.get(task, "")) and task in parents and task not in seen:
        seen.add(task)
        depth += 1
    return depth


def _line(run: Mapping[str, Any], requests: Mapping[str, Requested]) -> RunLine:
    from mcqa.readmodels.pipeline import run_error

    run_id = str(run.get("run_id") or "")
    return {
        "run_id": run_id,
        "name": str(run.get("display_name") or run_id),
        "state": str(run.get("state") or "PENDING"),
        "created_at": _at(run, "created_at"),
        "finished_at": _at(run, "finished_at"),
        "archived": run.get("storage_state") == "ARCHIVED",
        "error": run_error(dict(run)),
        "requested": requests.get(run_id) or requests.get(str(run.get("display_name"))),
    }


def _schedule(recurring: Mapping[str, Any]) -> Schedule:
    trigger: Json = dict(recurring.get("trigger") or {})
    cron = (trigger.get("cron_schedule") or {}).get("cron")
    interval = (trigger.get("periodic_schedule") or {}).get("interval_second")
    return {
        "name": str(recurring.get("display_name") or ""),
        "when": str(cron) if cron else f"{interval} s" if interval else "",
        "enabled": recurring.get("status") == "ENABLED",
    }


def _requests(environ: Mapping[str, str]) -> tuple[dict[str, Requested], str]:
    """The loop's requests by the id and by the name of their run; and why they cannot be read, "" where they can."""
    from functions.database import connect, transaction
    from functions.retrain.store import newest, run_name

    model = text(environ, "MCQA_REGISTERED_MODEL", MODEL)
    try:
        with transaction(connect(environ)) as connection:
            rows = newest(connection, model, REQUESTS)
    except Exception as error:  # noqa: BLE001 - the runs themselves are shown without the database, too
        return {}, " ".join(str(error).split())[:300] or type(error).__name__
    by_run: dict[str, Requested] = {}
    for row in reversed(rows):
        # A second attempt replaces the run's id in the row; the first one is still known by its name.
        by_run[run_name(row.key)] = {**_requested(row), "version": None}
        if row.run_id:
            by_run[row.run_id] = _requested(row)
    return by_run, ""


def _requested(row: Row[Any]) -> Requested:
    return {
        "key": row.key,
        "state": row.state,
        "reason_code": row.reason_code,
        "initiated_by": row.initiated_by,
        "reason": row.reason,
        "attempt": row.attempt,
        "version": row.version,
        "error": row.error,
        "created_at": row.created_at,
    }


def _at(message: Mapping[str, Any], name: str) -> float | None:
    """Kubeflow writes 1970 for what has not happened."""
    with suppress(ValueError, TypeError):
        return unix_seconds(str(message[name])) or None if message.get(name) else None
    return None
