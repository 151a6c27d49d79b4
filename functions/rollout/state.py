"""Desired and observed state of a rollout as plain data: all that the reconciler's decision rests on.

Where the rollout's own memory lives is part of the design. It is not in annotations of the InferenceService: KServe
copies those into the revision template, so that storing a step there would start a new revision. The registry holds
what must outlive everything (aliases, and per version the tag ROLLOUT_TAG), the database holds when each step began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from functions.rollout.version_tag import ROLLOUT_TAG, Outcome, RolloutTag

Verdict = Literal["pass", "fail", "inconclusive"]

NAMELESS = "operator"
"""The name of an operator whose name is not known."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered model version with its tags."""

    version: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def rollout_tag(self) -> RolloutTag | None:
        return RolloutTag.decode(self.tags.get(ROLLOUT_TAG))

    @property
    def rolled_back(self) -> RolloutTag | None:
        """The tag of a rollback, None without one. Such a version is not tried again until the tag is removed."""
        tag = self.rollout_tag
        return tag if tag is not None and tag.outcome is Outcome.ROLLED_BACK else None

    def passed(self, champion: str) -> bool:
        """Whether its canary passed against this champion; one that passed against another does not count."""
        return self.rollout_tag == RolloutTag(Outcome.PASSED, champion)


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What the registry's aliases point to."""

    champion: ModelVersion | None
    challenger: ModelVersion | None = None
    previous_champion: str | None = None


@dataclass(frozen=True, slots=True)
class ServingState:
    """Observed state of the InferenceService.

    `version` is the one its storageUri pins; `percent` is canaryTrafficPercent (None: absent). `settled` is whether
    the controller has seen this spec (status.observedGeneration). `ready` is whether the latest created revision is
    ready, `rolled_out` whether it is the latestRolledoutRevision. `stable_version` is the version of the
    latestRolledoutRevision: None before the first, "" where it is unknown (then taken to be the champion).
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
class StepAnalysis:
    """The verdict on the current step of this challenger's rollout. `details` are its measures, a sentence each."""

    challenger: str
    percent: int
    verdict: Verdict
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's instruction for this challenger; an override for another version is void. `at` in Unix seconds."""

    action: Literal["hold", "promote", "abort"]
    challenger: str
    by: str = NAMELESS
    at: float = 0.0

    @property
    def details(self) -> tuple[str, ...]:
        """Who did it, as the detail of a reason: a name is free text, and no part of a headline."""
        return () if self.by == NAMELESS else (self.by,)


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The whole input of a decision. `now` in Unix seconds.

    `is_new`: nothing was deployed so far, and not for long: a new loop gets its first version before its service.
    """

    desired: DesiredState
    serving: ServingState | None
    rollout: Rollout | None
    analysis: StepAnalysis | None
    override: Override | None
    now: float
    is_new: bool = False
