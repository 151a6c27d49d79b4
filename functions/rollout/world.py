"""What the reconciler sees and what it may do, as plain data: every adapter reads or writes exactly this.

Where the rollout's own memory lives is part of the design. It is not in annotations of the InferenceService: KServe
copies those into the revision template, so that noting a step there would start a new revision. The registry holds
what must outlive everything (aliases, and per version the tag ROLLOUT_TAG), the database holds when each step began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ROLLOUT_TAG = "rollout"
"""`passed over 6` (by the challenger, before it gets all traffic), `promoted over 6`, or `rolled back from 6: why`."""


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model version with its tags."""

    version: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def rolled_back(self) -> str | None:
        """Why it was taken back, None when it was not. Such a version is not tried again until the tag is removed."""
        tag = self.tags.get(ROLLOUT_TAG, "")
        return tag if tag.startswith("rolled back") else None

    def passed(self, champion: str) -> bool:
        """Whether its canary passed against this champion (one that passed against another says nothing)."""
        return self.tags.get(ROLLOUT_TAG) == passed_tag(champion)


def passed_tag(champion: str) -> str:
    return f"passed over {champion}"


@dataclass(frozen=True, slots=True)
class Registry:
    """Desired state: what the aliases point to."""

    champion: Version | None
    challenger: Version | None = None
    previous_champion: str | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """Observed state of the InferenceService.

    `version` is the one its storageUri pins; `percent` is canaryTrafficPercent (None: absent). `settled` is whether
    the controller has seen this spec (status.observedGeneration). `ready` is whether the latest created revision is
    ready, `rolled_out` whether it is the latestRolledoutRevision. `stable_version` is the version of the
    latestRolledoutRevision: None before the first, "" where it cannot be told (then taken to be the champion).
    """

    version: str
    percent: int | None
    settled: bool
    ready: bool
    rolled_out: bool
    stable_version: str | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """When the challenger's share became `percent` (Unix seconds). 0: its revision was created."""

    percent: int
    since: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """The database's record of the rollout under way: its versions and the steps begun so far, in order."""

    challenger: str
    champion: str
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """The analysis' verdict on the rollout's current step, for this challenger."""

    challenger: str
    percent: int
    verdict: Literal["pass", "fail", "inconclusive"]
    reason: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asked for, of this challenger; a wish about another version is void."""

    action: Literal["hold", "promote", "abort"]
    challenger: str
    by: str = "operator"


@dataclass(frozen=True, slots=True)
class World:
    """All that one decision rests on. `now` in Unix seconds."""

    registry: Registry
    serving: Serving | None
    rollout: Rollout | None
    finding: Finding | None
    wish: Wish | None
    now: float


@dataclass(frozen=True, slots=True)
class SetSpec:
    """One patch: pin this version (storageUri and its version annotation) and set canaryTrafficPercent (None: null)."""

    version: str
    percent: int | None


@dataclass(frozen=True, slots=True)
class SetPercent:
    """Set canaryTrafficPercent; None removes it with a JSON null, which gives the latest revision all traffic."""

    percent: int | None


@dataclass(frozen=True, slots=True)
class SetTag:
    """Set ROLLOUT_TAG of a version."""

    version: str
    value: str


@dataclass(frozen=True, slots=True)
class SetAlias:
    alias: str
    version: str


@dataclass(frozen=True, slots=True)
class DeleteAlias:
    alias: str


@dataclass(frozen=True, slots=True)
class Record:
    """Replace the database's record of the rollout; None forgets it."""

    rollout: Rollout | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something changes."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing will change by itself: tell people."""


Action = SetSpec | SetPercent | SetTag | SetAlias | DeleteAlias | Record | Wait | Hold

Phase = Literal[
    "idle", "blocked", "deploying", "starting", "step", "stepped-up", "held", "rolling-back", "promoting", "finished"
]


@dataclass(frozen=True, slots=True)
class Decision:
    """At most one effect, why, and where in its life the rollout is."""

    action: Action
    phase: Phase
    reason: str
