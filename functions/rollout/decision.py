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

from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from functions.rollout.world import (
    ROLLOUT_TAG,
    Decision,
    DeleteAlias,
    Hold,
    Record,
    Rollout,
    Serving,
    SetAlias,
    SetPercent,
    SetSpec,
    SetTag,
    StepRecord,
    Version,
    Wait,
    World,
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


def decide(world: World, config: Config = Config()) -> Decision:
    """The next step; `reason` is for people and the decision log."""
    registry, serving = world.registry, world.serving
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
        return _restore(world, serving, champion, "there is no challenger")
    if challenger.rolled_back:
        why = f"challenger {challenger.version} was {challenger.rolled_back} (remove its tag {ROLLOUT_TAG!r} to retry)"
        return _restore(world, serving, champion, why)
    if serving.version != challenger.version:
        return _start(world, serving, champion, challenger)
    return _roll_out(world, serving, champion, challenger, config)


def _finish(champion: Version, previous: str | None) -> Decision:
    """The champion alias has moved to the challenger; what is left is the paperwork."""
    tag = champion.tags.get(ROLLOUT_TAG, "")
    if tag.startswith("passed over "):
        value = tag.replace("passed", "promoted", 1)
        reason = f"version {champion.version} is champion after {previous or 'none'}"
        return Decision(SetTag(champion.version, value), "promoting", reason)
    return Decision(DeleteAlias(CHALLENGER), "finished", f"version {champion.version} is champion")


def _restore(world: World, serving: Serving, champion: Version, why: str) -> Decision:
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
    if world.rollout is not None:
        return Decision(Record(None), "finished", f"version {champion.version} serves alone: {why}")
    return Decision(Wait(), "idle", f"version {champion.version} serves: {why}")


def _start(world: World, serving: Serving, champion: Version, challenger: Version) -> Decision:
    """Pin the challenger, once nothing but the champion can get traffic."""
    alone = serving.version == champion.version and serving.percent is None and serving.ready and serving.rolled_out
    stopped = serving.percent == 0 and serving.stable_version in ("", champion.version)
    if not (alone or stopped):
        return _restore(world, serving, champion, f"challenger {challenger.version} waits for the champion to serve")
    if world.rollout is not None:
        reason = f"the rollout of version {world.rollout.challenger} is over, {challenger.version} is next"
        return Decision(Record(None), "starting", reason)
    wish = _wish(world, challenger)
    if wish == "abort":
        return _tag_rolled_back(champion, challenger, "aborted by the operator")
    if wish == "hold":
        return Decision(Hold(), "held", f"challenger {challenger.version} is held by the operator")
    reason = f"challenger {challenger.version} against champion {champion.version}: its revision starts without traffic"
    return Decision(SetSpec(challenger.version, 0), "starting", reason)


def _roll_out(world: World, serving: Serving, champion: Version, challenger: Version, config: Config) -> Decision:
    """The InferenceService pins the challenger."""
    if failure := _failure(world, serving, champion, challenger, config):
        if serving.percent is not None and serving.percent > 0:
            return Decision(SetPercent(0), "rolling-back", failure)
        return _tag_rolled_back(champion, challenger, failure)
    if serving.percent is None or serving.percent >= 100:
        return _promote(world, serving, champion, challenger)
    if serving.stable_version not in ("", champion.version):
        return _restore(world, serving, champion, f"champion {champion.version} has to serve before its challenger")
    step = _begun(world, champion, challenger, serving.percent)
    if step is None:
        return _record(world, champion, challenger, serving.percent)
    wish = _wish(world, challenger)
    if wish == "hold":
        return Decision(Hold(), "held", f"held at {serving.percent} % by the operator")
    if not serving.ready:
        return Decision(Wait(), "starting", _starting(serving))
    if challenger.passed(champion.version):
        return Decision(SetPercent(None), "promoting", f"version {challenger.version} passed: all traffic to it")
    if wish == "promote":
        value = passed_tag(champion.version)
        return Decision(SetTag(challenger.version, value), "promoting", "promoted by the operator, without its canary")
    if serving.percent == 0:
        share = config.steps[0]
        reason = f"version {challenger.version} is ready: {share} % of the traffic to it"
        return _up(champion, challenger, share, reason)
    return _step(world, serving.percent, step, champion, challenger, config)


def _step(
    world: World, percent: int, step: StepRecord, champion: Version, challenger: Version, config: Config
) -> Decision:
    """The challenger has its share; the evidence says what is next."""
    finding = world.finding
    if finding is None or (finding.challenger, finding.percent) != (challenger.version, percent):
        verdict, reason = "inconclusive", "no evidence yet"
    else:
        verdict, reason = finding.verdict, finding.reason
    if verdict == "pass":
        share = next(s for s in config.steps if s > percent)
        return _up(champion, challenger, share, f"passed at {percent} %: {reason}")
    elapsed = max(0.0, world.now - step.since)
    if elapsed > config.max_step:
        text = f"inconclusive after {elapsed / 3600:.1f} h at {percent} %, promote or abort it: {reason}"
        return Decision(Hold(), "held", text)
    return Decision(Wait(), "step", f"{elapsed / 60:.0f} min at {percent} %: {reason}")


def _up(champion: Version, challenger: Version, share: int, reason: str) -> Decision:
    if share < 100:
        return Decision(SetPercent(share), "stepped-up", reason)
    return Decision(SetTag(challenger.version, passed_tag(champion.version)), "promoting", reason)


def _promote(world: World, serving: Serving, champion: Version, challenger: Version) -> Decision:
    """The challenger has all traffic; with its tag the aliases follow, without it the champion comes back."""
    if not challenger.passed(champion.version):
        return _restore(world, serving, champion, f"version {challenger.version} has all traffic but no passed canary")
    if serving.percent is not None:
        return Decision(SetPercent(None), "promoting", f"version {challenger.version} passed: all traffic to it")
    if not (serving.ready and serving.rolled_out):
        return Decision(Wait(), "promoting", _starting(serving))
    if world.registry.previous_champion != champion.version:
        reason = f"version {champion.version} stays at hand as {PREVIOUS_CHAMPION}"
        return Decision(SetAlias(PREVIOUS_CHAMPION, champion.version), "promoting", reason)
    reason = f"version {challenger.version} passed its canary and serves all traffic"
    return Decision(SetAlias(CHAMPION, challenger.version), "promoting", reason)


def _failure(world: World, serving: Serving, champion: Version, challenger: Version, config: Config) -> str | None:
    """Why the challenger has to go; None while nothing speaks against it."""
    finding, rollout = world.finding, world.rollout
    if finding is not None and finding.challenger == challenger.version and finding.verdict == "fail":
        return f"failed at {finding.percent} %: {finding.reason}"
    if _wish(world, challenger) == "abort":
        return "aborted by the operator"
    if rollout is None or not _about(rollout, champion, challenger):
        return None
    last = rollout.steps[-1]
    if serving.percent == 0 and last.percent > 0:
        return f"its share was taken back from {last.percent} %"
    waited = world.now - last.since
    if not serving.ready and last.percent == serving.percent and waited > config.max_start:
        return f"its revision was not ready after {waited:.0f} s: {serving.message or 'no message'}"
    return None


def _tag_rolled_back(champion: Version, challenger: Version, failure: str) -> Decision:
    value = f"rolled back from {champion.version}: {failure}"[:TAG_LIMIT]
    return Decision(SetTag(challenger.version, value), "rolling-back", failure)


def _begun(world: World, champion: Version, challenger: Version, percent: int) -> StepRecord | None:
    """The record of the step that is observed; None when it is missing, or dated by a clock that runs ahead."""
    rollout = world.rollout
    if rollout is None or not _about(rollout, champion, challenger):
        return None
    last = rollout.steps[-1]
    return last if last.percent == percent and last.since <= world.now + CLOCK_SKEW else None


def _record(world: World, champion: Version, challenger: Version, percent: int) -> Decision:
    rollout = world.rollout
    steps = rollout.steps if rollout is not None and _about(rollout, champion, challenger) else ()
    kept = tuple(s for s in steps if s.percent < percent and s.since <= world.now + CLOCK_SKEW)
    record = Rollout(challenger.version, champion.version, (*kept, StepRecord(percent, world.now)))
    return Decision(Record(record), "starting", f"challenger {challenger.version} is at {percent} % from now on")


def _about(rollout: Rollout, champion: Version, challenger: Version) -> bool:
    return (rollout.champion, rollout.challenger) == (champion.version, challenger.version)


def _wish(world: World, challenger: Version) -> str | None:
    wish = world.wish
    return wish.action if wish is not None and wish.challenger == challenger.version else None


def _starting(serving: Serving) -> str:
    return f"version {serving.version} is starting" + (f": {serving.message}" if serving.message else "")
