"""The rollout's next step: desired state (registry aliases) against observed state (InferenceService), level-triggered.

One call takes at most one write, so a crash can only fall between two writes, and each write leaves a state from
which the next call goes on. Calling it twice, late or never is harmless; a handler calls it until it says Wait or
Hold. It needs a single writer (one replica, one request at a time), because aliases know no compare-and-swap.

A promotion, in writes: pin the challenger at 0 % → (its revision is ready) → 10 % → 25 % → 50 % → tag it passed →
remove the percent → (rolled out) → previous_champion → champion → tag it promoted → remove the challenger alias.
A rollback: 0 % → tag it rolled back → pin the champion at 0 % → (ready) → remove the percent.

Why at 0 %: while a new revision is not ready, Knative sends the `latest` share to the last revision that was. Pinning
and shifting traffic in one patch would hand the share to whatever failed before it.

Aliases follow the traffic and the tag comes before both: whatever is interrupted, a version gets all traffic or the
alias only when its own tag says that it passed against this champion.
"""

from __future__ import annotations

from dataclasses import dataclass

from functions.rollout.state import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    ROLLOUT_TAG,
    Decision,
    DeleteAlias,
    Hold,
    ModelVersion,
    Record,
    Rollout,
    RolloutState,
    ServingState,
    SetAlias,
    SetPercent,
    SetSpec,
    SetTag,
    StepRecord,
    Wait,
    passed_tag,
)

TAG_LIMIT = 1000
"""Characters kept of a reason in a version tag; MLflow refuses longer values at 5,000."""

CLOCK_SKEW = 60.0
"""Seconds by which another replica's clock may run ahead."""


@dataclass(frozen=True, slots=True)
class Config:
    """`steps` are the challenger's shares in percent, rising, the last one 100. Times in seconds.

    `max_step` is how long a step may stay inconclusive before people are told, `max_start` how long a revision may
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
    """The next step; `reason` is for people and the decision log."""
    registry, serving = state.registry, state.serving
    champion, challenger = registry.champion, registry.challenger
    if serving is None:
        return Decision(Hold(), "blocked", "there is no InferenceService: apply the manifests in kserve/")
    if champion is None:
        return Decision(Hold(), "blocked", f"no version has the alias {CHAMPION}: set it on the version to serve")
    if not serving.settled:
        return Decision(Wait(), "deploying", "the controller has not seen the last change yet")
    if challenger is not None and challenger.version == champion.version:
        return _finish(champion, registry.previous_champion)
    if challenger is None:
        return _restore(state, serving, champion, "there is no challenger")
    if challenger.rolled_back:
        why = f"challenger {challenger.version} was {challenger.rolled_back} (remove its tag {ROLLOUT_TAG!r} to retry)"
        return _restore(state, serving, champion, why)
    if serving.version != challenger.version:
        return _start(state, serving, champion, challenger)
    return _roll_out(state, serving, champion, challenger, config)


def _finish(champion: ModelVersion, previous: str | None) -> Decision:
    """The champion alias has moved to the challenger; what is left is the paperwork."""
    tag = champion.tags.get(ROLLOUT_TAG, "")
    if tag.startswith("passed over "):
        value = tag.replace("passed", "promoted", 1)
        reason = f"version {champion.version} is champion after {previous or 'none'}"
        return Decision(SetTag(champion.version, value), "promoting", reason)
    return Decision(DeleteAlias(CHALLENGER), "finished", f"version {champion.version} is champion")


def _restore(state: RolloutState, serving: ServingState, champion: ModelVersion, why: str) -> Decision:
    """No rollout goes on: the champion gets all traffic, whatever is served now."""
    if serving.version != champion.version:
        if serving.stable_version is None:
            reason = f"first deployment of version {champion.version} (a canary needs one that was rolled out)"
            return Decision(SetSpec(champion.version, None), "deploying", reason)
        if serving.percent is not None and serving.percent > 0:
            return Decision(SetPercent(0), "rolling-back", f"no more traffic to version {serving.version}: {why}")
        return Decision(SetSpec(champion.version, 0), "rolling-back", f"back to version {champion.version}: {why}")
    if serving.percent is not None:
        if not serving.ready:
            return Decision(Wait(), "rolling-back", _starting(serving))
        return Decision(SetPercent(None), "rolling-back", f"version {champion.version} is ready and gets all traffic")
    if not (serving.ready and serving.rolled_out):
        return Decision(Wait(), "deploying", _starting(serving))
    if state.rollout is not None:
        return Decision(Record(None), "finished", f"version {champion.version} serves alone: {why}")
    return Decision(Wait(), "idle", f"version {champion.version} serves: {why}")


def _start(state: RolloutState, serving: ServingState, champion: ModelVersion, challenger: ModelVersion) -> Decision:
    """Pin the challenger, once nothing but the champion can get traffic."""
    alone = serving.version == champion.version and serving.percent is None and serving.ready and serving.rolled_out
    stopped = serving.percent == 0 and serving.stable_version in ("", champion.version)
    if not (alone or stopped):
        return _restore(state, serving, champion, f"challenger {challenger.version} waits for the champion to serve")
    if state.rollout is not None:
        reason = f"the rollout of version {state.rollout.challenger} is over, {challenger.version} is next"
        return Decision(Record(None), "starting", reason)
    override = _override(state, challenger)
    if override == "abort":
        return _tag_rolled_back(champion, challenger, "aborted by the operator")
    if override == "hold":
        return Decision(Hold(), "held", f"challenger {challenger.version} is held by the operator")
    reason = f"challenger {challenger.version} against champion {champion.version}: its revision starts without traffic"
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
        return _restore(state, serving, champion, f"champion {champion.version} has to serve before its challenger")
    step = _begun(state, champion, challenger, serving.percent)
    if step is None:
        return _record(state, champion, challenger, serving.percent)
    override = _override(state, challenger)
    if override == "hold":
        return Decision(Hold(), "held", f"held at {serving.percent} % by the operator")
    if not serving.ready:
        return Decision(Wait(), "starting", _starting(serving))
    if challenger.passed(champion.version):
        return Decision(SetPercent(None), "promoting", f"version {challenger.version} passed: all traffic to it")
    if override == "promote":
        value = passed_tag(champion.version)
        return Decision(SetTag(challenger.version, value), "promoting", "promoted by the operator, without its canary")
    if serving.percent == 0:
        share = config.steps[0]
        reason = f"version {challenger.version} is ready: {share} % of the traffic to it"
        return _up(champion, challenger, share, reason)
    return _step(state, serving.percent, step, champion, challenger, config)


def _step(
    state: RolloutState,
    percent: int,
    step: StepRecord,
    champion: ModelVersion,
    challenger: ModelVersion,
    config: Config,
) -> Decision:
    """The challenger has its share; the evidence says what is next."""
    step_analysis = state.step_analysis
    if step_analysis is None or (step_analysis.challenger, step_analysis.percent) != (challenger.version, percent):
        verdict, reason = "inconclusive", "no evidence yet"
    else:
        verdict, reason = step_analysis.verdict, step_analysis.reason
    if verdict == "pass":
        share = next(s for s in config.steps if s > percent)
        return _up(champion, challenger, share, f"passed at {percent} %: {reason}")
    elapsed = max(0.0, state.now - step.since)
    if elapsed > config.max_step:
        text = f"inconclusive after {elapsed / 3600:.1f} h at {percent} %, promote or abort it: {reason}"
        return Decision(Hold(), "held", text)
    return Decision(Wait(), "step", f"{elapsed / 60:.0f} min at {percent} %: {reason}")


def _up(champion: ModelVersion, challenger: ModelVersion, share: int, reason: str) -> Decision:
    if share < 100:
        return Decision(SetPercent(share), "stepped-up", reason)
    return Decision(SetTag(challenger.version, passed_tag(champion.version)), "promoting", reason)


def _promote(state: RolloutState, serving: ServingState, champion: ModelVersion, challenger: ModelVersion) -> Decision:
    """The challenger has all traffic; with its tag the aliases follow, without it the champion comes back."""
    if not challenger.passed(champion.version):
        return _restore(state, serving, champion, f"version {challenger.version} has all traffic but no passed canary")
    if serving.percent is not None:
        return Decision(SetPercent(None), "promoting", f"version {challenger.version} passed: all traffic to it")
    if not (serving.ready and serving.rolled_out):
        return Decision(Wait(), "promoting", _starting(serving))
    if state.registry.previous_champion != champion.version:
        reason = f"version {champion.version} stays at hand as {PREVIOUS}"
        return Decision(SetAlias(PREVIOUS, champion.version), "promoting", reason)
    reason = f"version {challenger.version} passed its canary and serves all traffic"
    return Decision(SetAlias(CHAMPION, challenger.version), "promoting", reason)


def _failure(
    state: RolloutState, serving: ServingState, champion: ModelVersion, challenger: ModelVersion, config: Config
) -> str | None:
    """Why the challenger has to go; None while nothing speaks against it."""
    step_analysis, rollout = state.step_analysis, state.rollout
    if step_analysis is not None and step_analysis.challenger == challenger.version and step_analysis.verdict == "fail":
        return f"failed at {step_analysis.percent} %: {step_analysis.reason}"
    if _override(state, challenger) == "abort":
        return "aborted by the operator"
    if rollout is None or not _about(rollout, champion, challenger):
        return None
    last = rollout.steps[-1]
    if serving.percent == 0 and last.percent > 0:
        return f"its share was taken back from {last.percent} %"
    waited = state.now - last.since
    if not serving.ready and last.percent == serving.percent and waited > config.max_start:
        return f"its revision was not ready after {waited:.0f} s: {serving.message or 'no message'}"
    return None


def _tag_rolled_back(champion: ModelVersion, challenger: ModelVersion, failure: str) -> Decision:
    value = f"rolled back from {champion.version}: {failure}"[:TAG_LIMIT]
    return Decision(SetTag(challenger.version, value), "rolling-back", failure)


def _begun(state: RolloutState, champion: ModelVersion, challenger: ModelVersion, percent: int) -> StepRecord | None:
    """The record of the step that is observed; None when it is missing, or dated by a clock that runs ahead."""
    rollout = state.rollout
    if rollout is None or not _about(rollout, champion, challenger):
        return None
    last = rollout.steps[-1]
    return last if last.percent == percent and last.since <= state.now + CLOCK_SKEW else None


def _record(state: RolloutState, champion: ModelVersion, challenger: ModelVersion, percent: int) -> Decision:
    rollout = state.rollout
    steps = rollout.steps if rollout is not None and _about(rollout, champion, challenger) else ()
    kept = tuple(s for s in steps if s.percent < percent and s.since <= state.now + CLOCK_SKEW)
    record = Rollout(challenger.version, champion.version, (*kept, StepRecord(percent, state.now)))
    return Decision(Record(record), "starting", f"challenger {challenger.version} is at {percent} % from now on")


def _about(rollout: Rollout, champion: ModelVersion, challenger: ModelVersion) -> bool:
    return (rollout.champion, rollout.challenger) == (champion.version, challenger.version)


def _override(state: RolloutState, challenger: ModelVersion) -> str | None:
    override = state.override
    return override.action if override is not None and override.challenger == challenger.version else None


def _starting(serving: ServingState) -> str:
    return f"version {serving.version} is starting" + (f": {serving.message}" if serving.message else "")
