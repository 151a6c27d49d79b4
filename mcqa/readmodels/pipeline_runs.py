"""Runs of the retraining pipeline for people: what each was started for, its steps in time order, what came of it.

Read from the pipeline server (v2beta1, embedded or Kubeflow's own) and the loop's database. Times are Unix seconds.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict

from common import links
from common.environment import text
from common.rfc3339 import unix_seconds
from mcqa.readmodels import pipeline_requests
from mcqa.readmodels.pipeline_requests import Request, Requested

if TYPE_CHECKING:
    from common.kubeflow import KubeflowClient

Json = dict[str, Any]

RUNS = 25
ERRORS = 500
"""Failed runs whose errors are kept: Kubeflow's list of runs lacks them, and what has failed is not asked for again."""
_RETRY = re.compile(r"(?P<name>.+)\((?P<attempt>\d+)\)")


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
    """Runs and versions newest first. `database` says why the runs' requests are unknown, "" where they are known.

    `requests` are those that wait for a run, or ended without one.
    """

    runs: list[RunLine]
    requests: list[Request]
    schedules: list[Schedule]
    versions: list[Uploaded]
    database: str


def read(environ: Mapping[str, str]) -> PipelinesFacts:
    """SettingError or UnavailableError where the pipeline server is not named or does not answer."""
    from common.kubeflow import KubeflowClient

    server = KubeflowClient(environ)
    runs = server.latest_runs(RUNS, with_steps=False)
    rows, problem = pipeline_requests.read(environ)
    requests = pipeline_requests.of_runs(rows, runs)
    endpoint = text(environ, "KFP_ENDPOINT")
    return {
        "runs": [_line(run, requests, _error(server, endpoint, run)) for run in runs],
        "requests": pipeline_requests.without_run(rows),
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
    from mcqa.readmodels.pipeline import run_error

    server = KubeflowClient(environ)
    found = server.run(run_id)
    if found is None:
        return None
    rows, _ = pipeline_requests.read(environ)
    requests = pipeline_requests.of_runs(rows, [found])
    if run_id in requests and requests[run_id]["attempt"] > 1:
        requests = pipeline_requests.of_runs(rows, server.runs_named(str(found.get("display_name"))) or [found])
    return {
        **_line(found, requests, run_error(found)),
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


_errors: OrderedDict[tuple[str, str, str], str] = OrderedDict()
_errors_guard = threading.Lock()


def _error(server: KubeflowClient, endpoint: str, run: Mapping[str, Any]) -> str:
    """Why a listed run failed. A run that is retried fails at another time, and is asked for again."""
    from mcqa.readmodels.pipeline import run_error

    if run.get("state") != "FAILED" or run.get("error"):
        return run_error(dict(run))
    key = (endpoint, str(run.get("run_id")), str(run.get("finished_at")))
    with _errors_guard:
        if key in _errors:
            return _errors[key]
    error = run_error(server.run(key[1]) or dict(run))
    with _errors_guard:
        _errors[key] = error
        while len(_errors) > ERRORS:
            _errors.popitem(last=False)
    return error


def _line(run: Mapping[str, Any], requests: Mapping[str, Requested], error: str) -> RunLine:
    run_id = str(run.get("run_id") or "")
    return {
        "run_id": run_id,
        "name": str(run.get("display_name") or run_id),
        "state": str(run.get("state") or "PENDING"),
        "created_at": _at(run, "created_at"),
        "finished_at": _at(run, "finished_at"),
        "archived": run.get("storage_state") == "ARCHIVED",
        "error": error,
        "requested": requests.get(run_id),
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


def _at(message: Mapping[str, Any], name: str) -> float | None:
    """Kubeflow writes 1970 for what has not happened."""
    with suppress(ValueError, TypeError):
        return unix_seconds(str(message[name])) or None if message.get(name) else None
    return None
