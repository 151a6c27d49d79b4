"""The CDEvents that follow from a decision. Pure.

A decision is announced from its row in the log, so that a crash loses no announcement and a repeated one is the same
event again. Except for the first deployment, what is announced is already true when it is decided: a rollback is
logged when the traffic is back, a promotion when the alias has moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from common import event_types
from common.event_types import SOURCE_ROLLOUT
from functions.events import Event
from functions.reasons import CODE_COLUMNS
from functions.rollout.actions import Decision, Hold, Record, SetSpec, SetTag, Wait
from functions.rollout.settings import Settings
from functions.rollout.version_tag import Outcome
from functions.sink import cdevent, digest

Kind = Literal["deployed", "upgraded", "rolled-back", "aborted", "held", "stuck"]

BLOCKED_SECONDS = 120.0
"""How long a hold without any rollout may last without an announcement: a loop starts with nothing deployed."""


def kind_of(decision: Decision) -> Kind | None:
    """What is to be announced of a decision; None for those that only concern the rollout itself."""
    match decision.action:
        case SetSpec(_, None):
            return "deployed"
        case Record(rollout) if rollout is not None and rollout.steps[-1].percent == 0:
            return "deployed"
        case SetTag(_, tag) if tag.outcome is Outcome.PROMOTED:
            return "upgraded"
        case SetTag(_, tag) if tag.outcome is Outcome.ROLLED_BACK:
            return "aborted" if decision.by_operator else "rolled-back"
        case Hold() if not decision.by_operator:
            return "held"
        case Wait() if decision.phase in ("deploying", "rolling-back", "promoting"):
            return "stuck"
    return None


def patience(row: Mapping[str, Any], settings: Settings) -> float:
    """Seconds for which a decision has to remain the last before it is announced; otherwise it is not announced."""
    if row["announces"] == "stuck":
        return settings.decision.max_start
    return BLOCKED_SECONDS if row["phase"] == "blocked" else 0.0


def announce(row: Mapping[str, Any], settings: Settings) -> list[Event]:
    """The events of a row of the decision log."""
    kind: Kind = row["announces"]
    if kind == "deployed":
        # A canary's revision is recorded while it starts; without a canary it is the champion that is deployed.
        version = row["challenger"] if row["phase"] == "starting" else row["champion"]
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
    about = {"held": "the rollout is held", "stuck": "the rollout makes no progress"}.get(
        row["announces"], "rolled back"
    )
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
    names = ("reason", *CODE_COLUMNS, "phase", "champion", "challenger", "percent", "evidence")
    custom = {name: row[name] for name in names}
    return cdevent(type, SOURCE_ROLLOUT, key, subject, content, row["at"], row["trace"], **custom)


def _purl(version: str, settings: Settings) -> str:
    return f"pkg:mlflow/{settings.model}@{version}"
