"""The CDEvents of a retraining, in the order in which they happen. Pure.

The subject is the run key, as in the pipeline's own events, and the outcomes mean the same: notify, which sends the
same content once, notifies people once whoever was first.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from common import event_types
from common.event_types import SOURCE_RETRAIN
from common.names import PIPELINE
from functions.events import Event
from functions.retrain.decision import FINISHED
from functions.retrain.reasons import ReasonCode
from functions.sink import cdevent, digest

QUEUED, RUNNING = str(ReasonCode.RUN_QUEUED), str(ReasonCode.RUN_RUNNING)


def outcome(row: Row[Any]) -> str:
    """CDEvents' outcome: success (a version was registered), failure (no pass at the gate), error (the run failed)."""
    if row.state != "succeeded":
        return "error"
    return "success" if row.version else "failure"


def events_of(row: Row[Any], link: str) -> list[Event | None]:
    """All that happened so far; later states only append to it. None stands for what did not happen.

    `link` is the run's page.
    """
    if row.state in ("waiting", "starting", "void"):
        return []
    queued = None if row.run_id is None else _run(event_types.PIPELINERUN_QUEUED, row, link, row.posted_at, QUEUED)
    if row.state == "queued":
        return [queued]
    started = (
        None if row.started_at is None else _run(event_types.PIPELINERUN_STARTED, row, link, row.started_at, RUNNING)
    )
    if row.state not in FINISHED:
        return [queued, started]
    ended = {"outcome": outcome(row), **({"errors": row.error} if row.error else {})}
    finished = _run(event_types.PIPELINERUN_FINISHED, row, link, row.finished_at, row.reason_code, **ended)
    incident = _incident(row) if row.state == "failed" and row.attempt > 1 else None
    return [queued, started, finished, incident]


def _run(type: str, row: Row[Any], link: str, time: float | None, code: str, **content: str) -> Event:
    key = digest(type, row.key, content.get("outcome", ""))
    content = {"pipelineName": PIPELINE, "uri": link, **content}
    return cdevent(
        type, SOURCE_RETRAIN, key, row.key, content, time or row.updated_at, row.traceparent, **_custom(row, code)
    )


def _incident(row: Row[Any]) -> Event:
    """The pipeline announced each failed attempt, and people hear the same only once: this is the end of it."""
    what = f"retraining of version {row.champion}" + (f" ({row.reason})" if row.reason else "")
    description = f"{what} failed {row.attempt} times and is not tried again: {row.error}"
    content = {"description": description, "environment": {"id": "pipeline"}, "service": {"id": row.model}}
    key = digest(event_types.INCIDENT_DETECTED, row.key)
    time = row.finished_at or row.updated_at
    custom = _custom(row, row.reason_code)
    return cdevent(
        event_types.INCIDENT_DETECTED, SOURCE_RETRAIN, key, row.key, content, time, row.traceparent, **custom
    )


def _custom(row: Row[Any], code: str) -> dict[str, Any]:
    return {
        "reason": row.reason,
        "reason_code": code,
        "initiated_by": row.initiated_by,
        "run_key": row.key,
        "run_id": row.run_id,
        "champion": row.champion,
        "version": row.version,
        "attempt": row.attempt,
        "drift_event": f"{row.drift_source} {row.drift_id}",
    }
