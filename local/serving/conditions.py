"""Conditions of a status, and how they combine: knative/pkg's `condition_set.go` as pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from local.kube.resources import Object

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: Truth
    reason: str = ""
    message: str = ""
    severity: str = ""

    def with_type(self, type: str, severity: str = "") -> Condition:
        """The same condition under another type."""
        return Condition(type, self.status, self.reason, self.message, severity)


def ready_condition(*parts: Condition) -> Condition:
    """Ready, as the last part that is False, else the last that is Unknown; True if all parts are."""
    for status in ("False", "Unknown"):
        for part in reversed(parts):
            if part.status == status:
                return part.with_type("Ready")
    return Condition("Ready", "True")


def merge_conditions(old: Sequence[Mapping[str, Any]], new: Sequence[Condition], now: str) -> list[dict[str, Any]]:
    """The list for a status; as in Knative, lastTransitionTime changes with any field of a condition."""
    previous = {item["type"]: item for item in old}
    merged = []
    for condition in sorted(new, key=lambda condition: condition.type):
        item: dict[str, Any] = {"type": condition.type, "status": condition.status}
        for name in ("reason", "message", "severity"):
            if value := getattr(condition, name):
                item[name] = value
        known = dict(previous.get(condition.type) or {})
        last_transition = known.pop("lastTransitionTime", now)
        merged.append({**item, "lastTransitionTime": last_transition if known == item else now})
    return merged


def get_condition(item: Object, type: str = "Ready") -> Condition:
    """One of an object's conditions; Unknown if it does not have it."""
    for known in (item.get("status") or {}).get("conditions") or ():
        if known["type"] == type:
            return Condition(
                type, known["status"], known.get("reason", ""), known.get("message", ""), known.get("severity", "")
            )
    return Condition(type, "Unknown")
