"""What became of a retraining as CDEvents, in the order in which they happen. Pure.

The subject is the run key, as in the pipeline's own events, and the outcomes mean the same: notify, which tells the
same content once, tells people once whoever was first.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from common import event_types
from common.event_types import SOURCE_RETRAIN
from common.names import PIPELINE
from functions.events import Event
from functions.retrain.decision import FINISHED
from functions.sink import cdevent, digest


def outcome(row: Row[Any]) -> str:
    """CDEvents' outcome: success (a version was registered), failure (the gate said no), error (the run broke)."""
    if row.state != "succeeded":
        return "error"
    return "success" if row.version else "failure"


def events_of(row: Row[Any], link: str) -> list[Event | None]:
    """All that happened so far; later states only append to it. None stands for what did not happen.

    `link` is the run's page.
    """
    if row.state in ("waiting", "starting", "void"):
        return []
    out: list[Event | None] = [
        None if row.run_id is None else _event(event_types.PIPELINERUN_QUEUED, row, link, row.posted_at)
    ]
    if row.state == "queued":
        return out
    out.append(None if row.started_at is None else _event(event_types.PIPELINERUN_STARTED, row, link, row.started_at))
    if row.state in FINISHED:
        ended = {"outcome": outcome(row), **({"errors": row.error} if row.error else {})}
        out.append(_event(event_types.PIPELINERUN_FINISHED, row, link, row.finished_at, **ended))
        out.append(_incident(row) if row.state == "failed" and row.attempt > 1 else None)
    return out


def _event(type: str, row: Row[Any], link: str, time: float | None, **content: str) -> Event:
    key = digest(type, row.key, content.get("outcome", ""))
    told = {"pipelineName": PIPELINE, "uri": link, **content}
    return cdevent(type, SOURCE_RETRAIN, key, row.key, told, time or row.updated_at, row.traceparent, **_custom(row))


def _incident(row: Row[Any]) -> Event:
    """The pipeline told of each attempt that broke, and people hear the same only once: this is the end of it."""
    what = f"retraining of version {row.champion}" + (f" ({row.reason})" if row.reason else "")
    description = f"{what} broke {row.attempt} times and is not tried again: {row.error}"
    content = {"description": description, "environment": {"id": "pipeline"}, "service": {"id": row.model}}
    key = digest(event_types.INCIDENT_DETECTED, row.key)
    time = row.finished_at or row.updated_at
    return cdevent(
        event_types.INCIDENT_DETECTED, SOURCE_RETRAIN, key, row.key, content, time, row.traceparent, **_custom(row)
    )


def _custom(row: Row[Any]) -> dict[str, Any]:
    return {
        "reason": row.reason,
        "run_key": row.key,
        "run_id": row.run_id,
        "champion": row.champion,
        "version": row.version,
        "attempt": row.attempt,
        "drift_event": f"{row.drift_source} {row.drift_id}",
    }
