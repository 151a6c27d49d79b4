"""The rollout's next step: desired state (registry aliases) against observed state (InferenceService), level-triggered.

One call leads to at most one write, so a crash can only happen between two writes, and each write leaves a state from
which the next call continues. Calling it twice, late or never is harmless; a handler calls it until it returns Wait or
Hold. It needs a single writer (one replica, one request at a time), because aliases have no compare-and-swap.

A promotion, in writes: pin the challenger at 0% → (its revision is ready) → 10% → 25% → 50% → tag it passed →
remove the percent → (rolled out) → previous_champion → champion → tag it promoted → remove the challenger alias.
A rollback: 0% → tag it rolled back → pin the champion at 0% → (ready) → remove the percent.

Why at 0%: while a new revision is not ready, Knative sends the `latest` share to the last revision that was. Pinning
and shifting traffic in one patch would hand the share to whatever failed before it.

Aliases follow the traffic and the tag comes before both: whatever is interrupted, a version gets all traffic or the
alias only when its own tag records that it passed against this champion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from functions.reasons import InitiatedBy, Reason
from functions.rollout.actions import (
    Decision,
    DeleteAlias,
    Hold,
    Record,
    SetAlias,
    SetPercent,
    SetSpec,
    SetTag,
    Wait,
)
from functions.rollout.reasons import ReasonCode
from functions.rollout.state import (
    ModelVersion,
    Override,
    Rollout,
    RolloutState,
    ServingState,
    StepAnalysis,
    StepRecord,
)
from functions.rollout.version_tag import ROLLOUT_TAG, Outcome, RolloutTag

CLOCK_SKEW = 60.0
"""Seconds by which another replica's clock may run ahead."""

_ANALYSIS, _OPERATOR = InitiatedBy.ANALYSIS, InitiatedBy.OPERATOR


@dataclass(frozen=True, slots=True)
class Config:
    """`steps` are the challenger's shares in percent, rising, the last one 100. Times in seconds.

    `max_step` is how long a step may stay inconclusive before people are notified, `max_start` how long a revision may
    take to become ready before the version is taken back.
    """

    steps: tuple[int, ...] = (10, 25, 50, 100)
    max_step: float = 24 * 3600.0
    max_start: float = 1800.0

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if len(self.steps) < 2 or not rising or self.steps[0] < 1 or self.steps[-1] != 100:
            raise ValueError(f"steps must rise from at least 1 to 100, found {self.steps}")


def decide(state: RolloutState, config: Config = Config()) -> Decision:
    """The next step and why."""
    desired, serving = state.desired, state.serving
    champion, challenger = desired.champion, desired.challenger
    if serving is None:
        if state.is_new:
            return Decision(Wait(), "deploying", Reason(ReasonCode.NOTHING_DEPLOYED))
        return Decision(Hold(), "blocked", Reason(ReasonCode.NO_INFERENCE_SERVICE))
    if champion is None:
        return Decision(Hold(), "blocked", Reason(ReasonCode.NO_CHAMPION))
    if not serving.settled:
        return Decision(Wait(), "deploying", Reason(ReasonCode.AWAITING_CONTROLLER))
    if challenger is not None and challenger.version == champion.version:
        return _finish(champion, desired.previous_champion)
    if challenger is None:
        return _restore(state, serving, champion, Reason(ReasonCode.NO_CHALLENGER))
    if tag := challenger.rolled_back:
        params = {"version": challenger.version, "champion": tag.champion, "tag": ROLLOUT_TAG}
        details = (tag.text,) if tag.text else ()
        cause = Reason(ReasonCode.CHALLENGER_ROLLED_BACK, params, details, initiated_by=tag.initiated_by)
        return _restore(state, serving, champion, cause)
    if serving.version != challenger.version:
        return _start(state, serving, champion, challenger)
    return _roll_out(state, serving, champion, challenger, config)


def _finish(champion: ModelVersion, previous: str | None) -> Decision:
    """The champion alias has moved to the challenger; what is left are tags and aliases."""
    tag = champion.rollout_tag
    if tag is not None and tag.outcome is Outcome.PASSED:
        reason = Reason(ReasonCode.CHAMPION_PROMOTED, {"version": champion.version, "previous": previous or "none"})
        return Decision(SetTag(champion.version, replace(tag, outcome=Outcome.PROMOTED)), "promoting", reason)
    return Decision(DeleteAlias(CHALLENGER), "finished", _of(ReasonCode.PROMOTION_FINISHED, champion))


def _restore(state: RolloutState, serving: ServingState, champion: ModelVersion, cause: Reason) -> Decision:
    """No rollout is under way: the champion gets all traffic, whatever is served now."""

    def reason(code: ReasonCode, version: str = champion.version) -> Reason:
        known = cause.initiated_by is not InitiatedBy.UNKNOWN
        by = cause.initiated_by if known else InitiatedBy.CONTROLLER
        return Reason(code, {"version": version}, cause=cause, initiated_by=by)

    if serving.version != champion.version:
        if serving.stable_version is None:
            return Decision(SetSpec(champion.version, None), "deploying", _of(ReasonCode.FIRST_DEPLOYMENT, champion))
        if serving.percent is not None and serving.percent > 0:
            return Decision(SetPercent(0), "rolling-back", reason(ReasonCode.TRAFFIC_WITHDRAWN, serving.version))
        return Decision(SetSpec(champion.version, 0), "rolling-back", reason(ReasonCode.RESTORING_CHAMPION))
    if serving.percent is not None:
        if not serving.ready:
            return Decision(Wait(), "rolling-back", _starting(serving))
        return Decision(SetPercent(None), "rolling-back", _of(ReasonCode.CHAMPION_READY, champion))
    if not (serving.ready and serving.rolled_out):
        return Decision(Wait(), "deploying", _starting(serving))
    if state.rollout is not None:
        return Decision(Record(None), "finished", reason(ReasonCode.CHAMPION_SERVES_ALONE))
    return Decision(Wait(), "idle", reason(ReasonCode.CHAMPION_SERVES))


def _start(state: RolloutState, serving: ServingState, champion: ModelVersion, challenger: ModelVersion) -> Decision:
    """Pin the challenger, once nothing but the champion can get traffic."""
    alone = serving.version == champion.version and serving.percent is None and serving.ready and serving.rolled_out
    stopped = serving.percent == 0 and serving.stable_version in ("", champion.version)
    if not (alone or stopped):
        return _restore(state, serving, champion, _of(ReasonCode.CHALLENGER_WAITING, challenger))
    if state.rollout is not None:
        params = {"previous": state.rollout.challenger, "version": challenger.version}
        return Decision(Record(None), "starting", Reason(ReasonCode.ROLLOUT_SUPERSEDED, params))
    override = _override(state, challenger)
    if override is not None and override.action == "abort":
        return _tag_rolled_back(champion, challenger, _by(override, ReasonCode.ABORTED))
    if override is not None and override.action == "hold":
        return Decision(Hold(), "held", _by(override, ReasonCode.HELD_BEFORE_START, version=challenger.version))
    reason = Reason(ReasonCode.CANARY_STARTING, {"version": challenger.version, "champion": champion.version})
    return Decision(SetSpec(challenger.version, 0), "starting", reason)


def _roll_out(
    state: RolloutState, serving: ServingState, champion: ModelVersion, challenger: ModelVersion, config: Config
) -> Decision:
    """The InferenceService pins the challenger."""
    if failure := _failure(state, serving, champion, challenger, config):
        if serving.percent is not None and serving.percent > 0:
            return Decision(SetPercent(0), "rolling-back", failure)
        return _tag_rolled_back(champion, challenger, failure)
    if serving.percent is None or serving.percent >= 100:
        return _promote(state, serving, champion, challenger)
    if serving.stable_version not in ("", champion.version):
        return _restore(state, serving, champion, _of(ReasonCode.CHAMPION_NOT_SERVING, champion))
    step = _begun(state, champion, challenger, serving.percent)
    if step is None:
        return _record(state, champion, challenger, serving.percent)
    override = _override(state, challenger)
    if override is not None and override.action == "hold":
        return Decision(Hold(), "held", _by(override, ReasonCode.HELD, percent=serving.percent))
    if not serving.ready:
        return Decision(Wait(), "starting", _starting(serving))
    if challenger.passed(champion.version):
        return Decision(SetPercent(None), "promoting", _passed(state, challenger))
    if override is not None and override.action == "promote":
        return Decision(_passed_tag(champion, challenger), "promoting", _by(override, ReasonCode.CANARY_SKIPPED))
    if serving.percent == 0:
        reason = Reason(ReasonCode.REVISION_READY, {"version": challenger.version, "percent": config.steps[0]})
        return _step_up(champion, challenger, config.steps[0], reason)
    return _step(state, serving.percent, step, champion, challenger, config)


def _step(
    state: RolloutState,
    percent: int,
    step: StepRecord,
    champion: ModelVersion,
    challenger: ModelVersion,
    config: Config,
) -> Decision:
    """The challenger has its share; the evidence determines what is next."""
    analysis = state.analysis
    if analysis is None or (analysis.challenger, analysis.percent) != (challenger.version, percent):
        analysis = StepAnalysis(challenger.version, percent, "inconclusive", ("no evidence yet",))
    params: dict[str, float] = {"percent": percent}
    if analysis.verdict == "pass":
        share = next(s for s in config.steps if s > percent)
        reason = Reason(ReasonCode.STEP_PASSED, params, analysis.details, initiated_by=_ANALYSIS)
        return _step_up(champion, challenger, share, reason)
    elapsed = max(0.0, state.now - step.since)
    if elapsed > config.max_step:
        params |= {"hours": elapsed / 3600}
        reason = Reason(ReasonCode.STEP_INCONCLUSIVE, params, analysis.details, initiated_by=_ANALYSIS)
        return Decision(Hold(), "held", reason)
    params |= {"minutes": elapsed / 60}
    return Decision(Wait(), "step", Reason(ReasonCode.STEP_ANALYSING, params, analysis.details))


def _step_up(champion: ModelVersion, challenger: ModelVersion, share: int, reason: Reason) -> Decision:
    if share < 100:
        return Decision(SetPercent(share), "stepped-up", reason)
    return Decision(_passed_tag(champion, challenger), "promoting", reason)


def _promote(state: RolloutState, serving: ServingState, champion: ModelVersion, challenger: ModelVersion) -> Decision:
    """The challenger has all traffic; with its tag the aliases follow, without it the champion comes back."""
    if not challenger.passed(champion.version):
        return _restore(state, serving, champion, _of(ReasonCode.CANARY_NOT_PASSED, challenger))
    if serving.percent is not None:
        return Decision(SetPercent(None), "promoting", _passed(state, challenger))
    if not (serving.ready and serving.rolled_out):
        return Decision(Wait(), "promoting", _starting(serving))
    if state.desired.previous_champion != champion.version:
        reason = _of(ReasonCode.PREVIOUS_CHAMPION_KEPT, champion)
        return Decision(SetAlias(PREVIOUS_CHAMPION, champion.version), "promoting", reason)
    reason = _of(ReasonCode.ROLLOUT_COMPLETED, challenger)
    return Decision(SetAlias(CHAMPION, challenger.version), "promoting", reason)


def _failure(
    state: RolloutState, serving: ServingState, champion: ModelVersion, challenger: ModelVersion, config: Config
) -> Reason | None:
    """Why the challenger has to be rolled back; None if it does not."""
    analysis, rollout = state.analysis, state.rollout
    if analysis is not None and analysis.challenger == challenger.version and analysis.verdict == "fail":
        params = {"percent": analysis.percent}
        return Reason(ReasonCode.ANALYSIS_FAILED, params, analysis.details, initiated_by=_ANALYSIS)
    if (override := _override(state, challenger)) is not None and override.action == "abort":
        return _by(override, ReasonCode.ABORTED)
    if rollout is None or not _is_of(rollout, champion, challenger):
        return None
    last = rollout.steps[-1]
    if serving.percent == 0 and last.percent > 0:
        return Reason(ReasonCode.SHARE_WITHDRAWN, {"percent": last.percent})
    waited = state.now - last.since
    if not serving.ready and last.percent == serving.percent and waited > config.max_start:
        return Reason(ReasonCode.START_TIMEOUT, {"seconds": waited}, (serving.message or "no message",))
    return None


def _tag_rolled_back(champion: ModelVersion, challenger: ModelVersion, failure: Reason) -> Decision:
    code = ReasonCode(failure.code)
    tag = RolloutTag(Outcome.ROLLED_BACK, champion.version, str(failure), code, failure.initiated_by)
    return Decision(SetTag(challenger.version, tag), "rolling-back", failure)


def _passed_tag(champion: ModelVersion, challenger: ModelVersion) -> SetTag:
    return SetTag(challenger.version, RolloutTag(Outcome.PASSED, champion.version))


def _begun(state: RolloutState, champion: ModelVersion, challenger: ModelVersion, percent: int) -> StepRecord | None:
    """The record of the step that is observed; None when it is missing, or dated by a clock that runs ahead."""
    rollout = state.rollout
    if rollout is None or not _is_of(rollout, champion, challenger):
        return None
    last = rollout.steps[-1]
    return last if last.percent == percent and last.since <= state.now + CLOCK_SKEW else None


def _record(state: RolloutState, champion: ModelVersion, challenger: ModelVersion, percent: int) -> Decision:
    rollout = state.rollout
    steps = rollout.steps if rollout is not None and _is_of(rollout, champion, challenger) else ()
    kept = tuple(s for s in steps if s.percent < percent and s.since <= state.now + CLOCK_SKEW)
    record = Rollout(challenger.version, champion.version, (*kept, StepRecord(percent, state.now)))
    reason = Reason(ReasonCode.STEP_RECORDED, {"version": challenger.version, "percent": percent})
    return Decision(Record(record), "starting", reason)


def _is_of(rollout: Rollout, champion: ModelVersion, challenger: ModelVersion) -> bool:
    return (rollout.champion, rollout.challenger) == (champion.version, challenger.version)


def _override(state: RolloutState, challenger: ModelVersion) -> Override | None:
    override = state.override
    return override if override is not None and override.challenger == challenger.version else None


def _by(override: Override, code: ReasonCode, **params: Any) -> Reason:
    """A decision that goes back to an operator."""
    return Reason(code, {**params, "by": override.by}, override.details, initiated_by=_OPERATOR)


def _of(code: ReasonCode, version: ModelVersion, initiated_by: InitiatedBy = InitiatedBy.CONTROLLER) -> Reason:
    return Reason(code, {"version": version.version}, initiated_by=initiated_by)


def _passed(state: RolloutState, challenger: ModelVersion) -> Reason:
    if (override := _override(state, challenger)) is not None and override.action == "promote":
        return _by(override, ReasonCode.CANARY_PASSED, version=challenger.version)
    return _of(ReasonCode.CANARY_PASSED, challenger, _ANALYSIS)


def _starting(serving: ServingState) -> Reason:
    details = (serving.message,) if serving.message else ()
    return Reason(ReasonCode.REVISION_STARTING, {"version": serving.version}, details)
