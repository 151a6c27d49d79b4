"""What each part of the loop waits for, as codes with parameters. Pure; `loop_stored` counts only up to what is needed.

Numbers in parameters are counts or seconds; sentences are made of them last, by the page's catalogue and by
`mcqa status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.retrain import decision as retrain_decision
from functions.retrain.reasons import ReasonCode as RetrainCode
from functions.rollout.reasons import ReasonCode as RolloutCode
from mcqa.readmodels.loop_parts import Fact, Part
from mcqa.readmodels.loop_stored import Settings, Stored

_STARTING = frozenset({
    RolloutCode.AWAITING_CONTROLLER,
    RolloutCode.REVISION_STARTING,
    RolloutCode.FIRST_DEPLOYMENT,
    RolloutCode.CANARY_STARTING,
    RolloutCode.STEP_RECORDED,
})  # fmt: skip


def by_part(stored: Stored, settings: Settings, champion: str | None, now: float) -> dict[str, list[Fact]]:
    """What drift, retrain, rollout and pipelines wait for; `champion` is the registry's, where that answered."""
    return {
        "drift": drift(stored, settings),
        "retrain": retrain(stored, settings, champion or stored.champion, now),
        "pipelines": pipelines(stored),
        "rollout": rollout(stored, settings, now),
    }


def asleep(part: Part) -> list[Fact]:
    """What wakes a part that is scaled to zero."""
    if part["state"] != "asleep":
        return []
    return [_fact("model-sleeps" if part["name"] == "model" else "function-sleeps")]


def drift(stored: Stored, settings: Settings) -> list[Fact]:
    """Answers until a window can be tested, or closes; windows until a suspicion is an alarm."""
    if stored.champion is None:
        return [_fact("drift-needs-champion")]
    config, facts = settings.drift.config, []
    if stored.check is not None and stored.check.reason_code in ("reference-missing", "reference-unusable"):
        return [_fact("drift-needs-reference", version=stored.champion)]
    if stored.window < config.min_sample:
        facts.append(_fact("drift-needs-answers", has=stored.window, needed=config.min_sample))
    elif stored.window < config.enough:
        facts.append(_fact("drift-window-grows", has=stored.window, enough=config.enough))
    else:
        facts.append(_fact("drift-needs-check", has=stored.window))
    streaks: Mapping[str, int] = stored.check.document["state"]["streaks"] if stored.check is not None else {}
    windows = max(streaks.values(), default=0)
    if stored.alarm_stands:
        facts.append(_fact("drift-alarm-stands"))
    elif windows:
        facts.append(_fact("drift-suspects", windows=windows, consecutive=config.consecutive))
    return facts


def retrain(stored: Stored, settings: Settings, champion: str | None, now: float) -> list[Fact]:
    """The run that is active, the cool-down, or else an alarm, and the labels that a schedule's retraining needs."""
    if stored.active is not None:
        return [_fact("retrain-run-active", attempt=stored.active.attempt, attempts=settings.retrain.attempts)]
    action = retrain_decision.decide(stored.retrainings, champion, now, settings.retrain.cooldown)
    if action.reason.code is RetrainCode.COOLING_DOWN:
        return [_fact("retrain-cools-down", seconds=action.reason.params["seconds"])]
    if action.kind in ("start", "void"):
        return [_fact("retrain-starts")]
    if action.reason.code is RetrainCode.NO_CHAMPION:
        return [_fact("retrain-needs-champion")]
    facts, needed = [_fact("retrain-needs-alarm")], settings.retrain.minimum
    if stored.labels is not None and stored.labels < needed:
        facts.append(_fact("retrain-needs-labels", has=stored.labels, needed=needed))
    return facts


def pipelines(stored: Stored) -> list[Fact]:
    if stored.active is None:
        return [_fact("pipelines-needs-run")]
    started = stored.active.started_at or stored.active.posted_at
    return [_fact("pipelines-runs", state=stored.active.state, since=started, run=stored.active.run_id)]


def rollout(stored: Stored, settings: Settings, now: float) -> list[Fact]:
    """The challenger's requests and minutes that a step needs, its evidence, or an operator."""
    look = stored.look
    if look is None:
        return [_fact("rollout-needs-look")]
    code, percent = RolloutCode(look["reason_code"]), look["percent"]
    if look["phase"] == "held":
        return [_fact("rollout-held", percent=percent or 0, version=look["challenger"])]
    if look["phase"] == "blocked":
        return [_fact("rollout-needs-champion" if code is RolloutCode.NO_CHAMPION else "rollout-needs-service")]
    if look["phase"] == "step" and stored.rollout is not None:
        return [_step(stored, settings, now)]
    if code is RolloutCode.NOTHING_DEPLOYED:
        return [_fact("rollout-needs-deployment")]
    if code in _STARTING:
        return [_fact("rollout-needs-revision", version=look["challenger"] or look["champion"])]
    if look["phase"] in ("rolling-back", "promoting", "deploying", "starting", "stepped-up"):
        return [_fact("rollout-moves", phase=look["phase"], version=look["challenger"] or look["champion"])]
    return [_fact("rollout-needs-challenger")]


def _step(stored: Stored, settings: Settings, now: float) -> Fact:
    assert stored.rollout is not None
    assert stored.look is not None
    step, analysis = stored.rollout.steps[-1], settings.rollout.analysis
    requests = max(analysis.min_requests - stored.requests, 0)
    seconds = max(step.since + analysis.min_seconds - now, 0.0)
    common = {"percent": step.percent, "version": stored.rollout.challenger}
    if requests and seconds:
        return _fact("rollout-needs-requests-and-time", **common, requests=requests, seconds=seconds)
    if requests:
        return _fact("rollout-needs-requests", **common, requests=requests)
    if seconds:
        return _fact("rollout-needs-time", **common, seconds=seconds)
    undecided = [
        measure["name"]
        for measure in (stored.look["evidence"] or {}).get("measures", ())
        if measure["verdict"] == "inconclusive"
    ]
    left = max(step.since + settings.rollout.decision.max_step - now, 0.0)
    return _fact("rollout-needs-evidence", **common, measures=undecided, seconds=left)


def _fact(code: str, **params: Any) -> Fact:
    return {"code": code, "params": params}
