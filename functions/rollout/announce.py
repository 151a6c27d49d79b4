"""What a decision is to others: the CDEvents that follow from it. Pure.

A decision is announced from its row in the log, so that a crash loses no announcement and a repeated one is the same
event again. Apart from the first deployment, what is announced is true already when it is decided: a rollback is
noted when the traffic is back, a promotion when the alias has moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from common import event_types
from common.event_types import SOURCE_ROLLOUT
from functions.events import Event
from functions.rollout.settings import Settings
from functions.rollout.world import Decision, Hold, Record, SetSpec, SetTag, Wait
from functions.sink import cdevent, digest

Kind = Literal["deployed", "upgraded", "rolled-back", "aborted", "held", "stuck"]

BLOCKED_SECONDS = 120.0
"""How long a hold without any rollout may last untold: while a loop starts, the first look finds nothing deployed."""


def kind_of(decision: Decision) -> Kind | None:
    """What is to be told of a decision; None for those that only concern the rollout itself."""
    match decision.action:
        case SetSpec(_, None):
            return "deployed"
        case Record(rollout) if rollout is not None and rollout.steps[-1].percent == 0:
            return "deployed"
        case SetTag(_, value) if value.startswith("promoted"):
            return "upgraded"
        case SetTag(_, value) if value.startswith("rolled back"):
            return "aborted" if "by the operator" in decision.reason else "rolled-back"
        case Hold() if "by the operator" not in decision.reason:
            return "held"
        case Wait() if decision.phase in ("deploying", "rolling-back", "promoting"):
            return "stuck"
    return None


def patience(row: Mapping[str, Any], settings: Settings) -> float:
    """Seconds for which a decision has to stand before it is announced; what stood shorter needs no telling."""
    if row["announces"] == "stuck":
        return settings.decision.max_start
    return BLOCKED_SECONDS if row["phase"] == "blocked" else 0.0


def announce(row: Mapping[str, Any], settings: Settings) -> list[Event]:
    """The events of a row of the decision log."""
    kind: Kind = row["announces"]
    if kind == "deployed":
        version = row["challenger"] if row["action"].startswith("record") else row["champion"]
        return [_service(event_types.SERVICE_DEPLOYED, version, row, settings)]
    if kind == "upgraded":
        return [_service(event_types.SERVICE_UPGRADED, row["champion"], row, settings)]
    if kind == "aborted":
        return [_service(event_types.SERVICE_ROLLEDBACK, row["champion"], row, settings)]
    if kind == "rolled-back":
        return [_service(event_types.SERVICE_ROLLEDBACK, row["champion"], row, settings), _incident(row, settings)]
    return [_incident(row, settings)]


def _service(type: str, version: str, row: Mapping[str, Any], settings: Settings) -> Event:
    content = {"environment": {"id": settings.namespace}, "artifactId": _purl(version, settings)}
    return _event(type, settings.service, content, row)


def _incident(row: Mapping[str, Any], settings: Settings) -> Event:
    about = {"held": "the rollout is held", "stuck": "the rollout does not get on"}.get(row["announces"], "rolled back")
    content: dict[str, Any] = {
        "description": f"{about}: {row['reason']}",
        "environment": {"id": settings.namespace},
        "service": {"id": settings.service},
    }
    if version := row["challenger"] or row["champion"]:
        content["artifactId"] = _purl(version, settings)
    return _event(event_types.INCIDENT_DETECTED, f"rollout-{row['number']}", content, row)


def _event(type: str, subject: str, content: Mapping[str, Any], row: Mapping[str, Any]) -> Event:
    key = digest(type, row["model"], row["number"], row["at"])
    told = {name: row[name] for name in ("reason", "phase", "champion", "challenger", "percent", "evidence")}
    return cdevent(type, SOURCE_ROLLOUT, key, subject, content, row["at"], row["trace"], **told)


def _purl(version: str, settings: Settings) -> str:
    return f"pkg:mlflow/{settings.model}@{version}"
