"""What the reconciler may do, as plain data: one action is at most one write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from functions.reasons import Closed, InitiatedBy, Reason
from functions.rollout.state import Rollout
from functions.rollout.version_tag import RolloutTag


class ActionType(Closed):
    """An action's kind, as the decision log stores it.

    An override is an operator's (`operator_actions`), and so is what becomes of dead letters (`dead_letters`).
    """

    SET_SPEC = "set-spec"
    SET_PERCENT = "set-percent"
    SET_TAG = "set-tag"
    SET_ALIAS = "set-alias"
    DELETE_ALIAS = "delete-alias"
    RECORD = "record"
    WAIT = "wait"
    HOLD = "hold"
    OVERRIDE = "override"
    DEAD_LETTERS = "dead-letters"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SetSpec:
    """One patch: pin this version (storageUri and its version annotation) and set canaryTrafficPercent (None: null)."""

    type: ClassVar = ActionType.SET_SPEC
    version: str
    percent: int | None

    def __str__(self) -> str:
        return f"pin version {self.version}, {_share(self.percent)}"


@dataclass(frozen=True, slots=True)
class SetPercent:
    """Set canaryTrafficPercent; None removes it with a JSON null, which gives the latest revision all traffic."""

    type: ClassVar = ActionType.SET_PERCENT
    percent: int | None

    def __str__(self) -> str:
        return f"set {_share(self.percent)}"


@dataclass(frozen=True, slots=True)
class SetTag:
    """Set ROLLOUT_TAG of a version."""

    type: ClassVar = ActionType.SET_TAG
    version: str
    tag: RolloutTag

    def __str__(self) -> str:
        return f"tag version {self.version} {self.tag.outcome} {self.tag.champion}"


@dataclass(frozen=True, slots=True)
class SetAlias:
    type: ClassVar = ActionType.SET_ALIAS
    alias: str
    version: str

    def __str__(self) -> str:
        return f"alias {self.alias} to version {self.version}"


@dataclass(frozen=True, slots=True)
class DeleteAlias:
    type: ClassVar = ActionType.DELETE_ALIAS
    alias: str

    def __str__(self) -> str:
        return f"remove alias {self.alias}"


@dataclass(frozen=True, slots=True)
class Record:
    """Replace the database's record of the rollout; None forgets it."""

    type: ClassVar = ActionType.RECORD
    rollout: Rollout | None

    def __str__(self) -> str:
        return "forget the rollout" if self.rollout is None else f"record {self.rollout.steps[-1].percent}%"


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something changes."""

    type: ClassVar = ActionType.WAIT

    def __str__(self) -> str:
        return "wait"


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing will change by itself: people are notified."""

    type: ClassVar = ActionType.HOLD

    def __str__(self) -> str:
        return "hold"


Action = SetSpec | SetPercent | SetTag | SetAlias | DeleteAlias | Record | Wait | Hold

Phase = Literal[
    "idle", "blocked", "deploying", "starting", "step", "stepped-up", "held", "rolling-back", "promoting", "finished"
]


@dataclass(frozen=True, slots=True)
class Decision:
    """At most one write, where in its life the rollout is, and why."""

    action: Action
    phase: Phase
    reason: Reason

    @property
    def by_operator(self) -> bool:
        """Whether an operator asked for it, and so needs no notification."""
        return self.reason.initiated_by is InitiatedBy.OPERATOR


def _share(percent: int | None) -> str:
    return "all traffic" if percent is None else f"{percent}% of the traffic"
