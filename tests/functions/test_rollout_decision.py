"""The reconciler's table: one row a situation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from functions.rollout.decision import Config, decide
from functions.rollout.world import (
    ROLLOUT_TAG,
    Action,
    DeleteAlias,
    Finding,
    Hold,
    Record,
    Registry,
    Rollout,
    Serving,
    SetAlias,
    SetPercent,
    SetSpec,
    SetTag,
    StepRecord,
    Version,
    Wait,
    Wish,
    World,
)

NOW = 10_000.0
SERVES_6 = Serving("6", None, True, True, True, "6")
CANARY_7 = Serving("7", 10, True, True, False, "6")
ALL_7 = Serving("7", None, True, True, True, "7")
SIX, SEVEN = Version("6"), Version("7")
PASSED = Version("7", {ROLLOUT_TAG: "passed over 6"})
BACK = Version("7", {ROLLOUT_TAG: "rolled back from 6: too many errors"})
AT_0, AT_10, AT_50 = StepRecord(0, NOW - 900), StepRecord(10, NOW - 600), StepRecord(50, NOW - 60)


def rollout(*steps: StepRecord, challenger: str = "7", champion: str = "6") -> Rollout:
    return Rollout(challenger, champion, steps)


def finding(verdict: Any, percent: int = 10, challenger: str = "7") -> Finding:
    return Finding(challenger, percent, verdict, "numbers")


CANARY = World(Registry(SIX, SEVEN), CANARY_7, rollout(AT_0, AT_10), None, None, NOW)


def canary(**changes: Any) -> World:
    return replace(CANARY, **changes)


def serving(**changes: Any) -> Serving:
    return replace(CANARY_7, **changes)


SITUATIONS: dict[str, tuple[World, Action, str]] = {
    # nothing to reconcile
    "no InferenceService": (canary(serving=None), Hold(), "blocked"),
    "no champion": (canary(registry=Registry(None, SEVEN)), Hold(), "blocked"),
    "the controller lags": (canary(serving=serving(settled=False)), Wait(), "deploying"),
    "at rest": (canary(registry=Registry(SIX), serving=SERVES_6, rollout=None), Wait(), "idle"),
    # the first deployment knows no canary
    "first deployment": (
        canary(registry=Registry(SIX), serving=Serving("0", None, True, False, False, None), rollout=None),
        SetSpec("6", None),
        "deploying",
    ),
    "first deployment, a challenger is pinned": (
        canary(serving=serving(percent=None, ready=False, stable_version=None), rollout=None),
        SetSpec("6", None),
        "deploying",
    ),
    "first deployment starts": (
        canary(registry=Registry(SIX), serving=Serving("6", None, True, False, False, None), rollout=None),
        Wait(),
        "deploying",
    ),
    # starting
    "a challenger appears": (canary(serving=SERVES_6, rollout=None), SetSpec("7", 0), "starting"),
    "an old record is in the way": (
        canary(serving=SERVES_6, rollout=rollout(AT_0, AT_10)),
        Record(None),
        "starting",
    ),
    "held before it starts": (
        canary(serving=SERVES_6, rollout=None, wish=Wish("hold", "7")),
        Hold(),
        "held",
    ),
    "pinned, not recorded": (
        canary(serving=serving(percent=0, ready=False), rollout=None),
        Record(rollout(StepRecord(0, NOW))),
        "starting",
    ),
    "its revision starts": (canary(serving=serving(percent=0, ready=False), rollout=rollout(AT_0)), Wait(), "starting"),
    "its revision is ready": (
        canary(serving=serving(percent=0), rollout=rollout(AT_0)),
        SetPercent(10),
        "stepped-up",
    ),
    "its revision never gets ready": (
        canary(serving=serving(percent=0, ready=False, message="OOM"), rollout=rollout(StepRecord(0, NOW - 1801))),
        SetTag("7", "rolled back from 6: its revision was not ready after 1801 s: OOM"),
        "rolling-back",
    ),
    # steps
    "step not recorded": (
        canary(rollout=rollout(AT_0)),
        Record(rollout(AT_0, StepRecord(10, NOW))),
        "starting",
    ),
    "recorded by a clock a day ahead": (
        canary(rollout=rollout(AT_0, StepRecord(10, NOW + 86_400))),
        Record(rollout(AT_0, StepRecord(10, NOW))),
        "starting",
    ),
    "recorded by a clock a little ahead": (canary(rollout=rollout(AT_0, StepRecord(10, NOW + 30))), Wait(), "step"),
    "no evidence yet": (CANARY, Wait(), "step"),
    "evidence of another step": (canary(finding=finding("pass", percent=25)), Wait(), "step"),
    "evidence of another version": (canary(finding=finding("fail", challenger="5")), Wait(), "step"),
    "inconclusive": (canary(finding=finding("inconclusive")), Wait(), "step"),
    "inconclusive for too long": (
        canary(finding=finding("inconclusive"), rollout=rollout(AT_0, StepRecord(10, NOW - 86_401))),
        Hold(),
        "held",
    ),
    "passed": (canary(finding=finding("pass")), SetPercent(25), "stepped-up"),
    "passed, held": (canary(finding=finding("pass"), wish=Wish("hold", "7")), Hold(), "held"),
    "a wish for another version": (
        canary(finding=finding("pass"), wish=Wish("hold", "5")),
        SetPercent(25),
        "stepped-up",
    ),
    "a share between the steps": (
        canary(serving=serving(percent=30), rollout=rollout(StepRecord(30, NOW)), finding=finding("pass", 30)),
        SetPercent(50),
        "stepped-up",
    ),
    # promotion, write by write
    "passed the last step": (
        canary(serving=serving(percent=50), rollout=rollout(AT_10, AT_50), finding=finding("pass", 50)),
        SetTag("7", "passed over 6"),
        "promoting",
    ),
    "tagged": (
        canary(registry=Registry(SIX, PASSED), serving=serving(percent=50), rollout=rollout(AT_50)),
        SetPercent(None),
        "promoting",
    ),
    "at 100 instead of absent": (
        canary(registry=Registry(SIX, PASSED), serving=serving(percent=100), rollout=rollout(AT_50)),
        SetPercent(None),
        "promoting",
    ),
    "not rolled out yet": (
        canary(registry=Registry(SIX, PASSED), serving=replace(ALL_7, rolled_out=False, stable_version="6")),
        Wait(),
        "promoting",
    ),
    "rolled out": (
        canary(registry=Registry(SIX, PASSED), serving=ALL_7),
        SetAlias(PREVIOUS_CHAMPION, "6"),
        "promoting",
    ),
    "previous champion kept": (
        canary(registry=Registry(SIX, PASSED, "6"), serving=ALL_7),
        SetAlias(CHAMPION, "7"),
        "promoting",
    ),
    "champion moved": (
        canary(registry=Registry(PASSED, PASSED, "6"), serving=ALL_7),
        SetTag("7", "promoted over 6"),
        "promoting",
    ),
    "tag promoted": (
        canary(registry=Registry(Version("7", {ROLLOUT_TAG: "promoted over 6"}), SEVEN, "6"), serving=ALL_7),
        DeleteAlias(CHALLENGER),
        "finished",
    ),
    "the record is left": (
        canary(registry=Registry(SEVEN, None, "6"), serving=ALL_7, rollout=rollout(AT_50)),
        Record(None),
        "finished",
    ),
    "promoted by the operator": (
        canary(wish=Wish("promote", "7")),
        SetTag("7", "passed over 6"),
        "promoting",
    ),
    "the operator cannot promote what failed": (
        canary(wish=Wish("promote", "7"), finding=finding("fail")),
        SetPercent(0),
        "rolling-back",
    ),
    "all traffic without a passed canary": (canary(serving=ALL_7), SetSpec("6", 0), "rolling-back"),
    "passed against another champion": (
        canary(registry=Registry(SIX, Version("7", {ROLLOUT_TAG: "passed over 5"})), serving=ALL_7),
        SetSpec("6", 0),
        "rolling-back",
    ),
    "fails between the tag and the alias": (
        canary(registry=Registry(SIX, PASSED), serving=ALL_7, finding=finding("fail", 50)),
        SetTag("7", "rolled back from 6: failed at 50 %: numbers"),
        "rolling-back",
    ),
    # rollback, write by write
    "failed": (canary(finding=finding("fail")), SetPercent(0), "rolling-back"),
    "failed while held": (canary(finding=finding("fail"), wish=Wish("hold", "7")), SetPercent(0), "rolling-back"),
    "aborted": (canary(wish=Wish("abort", "7")), SetPercent(0), "rolling-back"),
    "share taken back": (
        canary(serving=serving(percent=0), finding=finding("fail")),
        SetTag("7", "rolled back from 6: failed at 10 %: numbers"),
        "rolling-back",
    ),
    "share taken back, evidence forgotten": (
        canary(serving=serving(percent=0)),
        SetTag("7", "rolled back from 6: its share was taken back from 10 %"),
        "rolling-back",
    ),
    "tagged rolled back": (
        canary(registry=Registry(SIX, BACK), serving=serving(percent=0)),
        SetSpec("6", 0),
        "rolling-back",
    ),
    "the champion's revision starts": (
        canary(registry=Registry(SIX, BACK), serving=Serving("6", 0, True, False, False, "6")),
        Wait(),
        "rolling-back",
    ),
    "the champion's revision is ready": (
        canary(registry=Registry(SIX, BACK), serving=Serving("6", 0, True, True, False, "6")),
        SetPercent(None),
        "rolling-back",
    ),
    "rolled back": (canary(registry=Registry(SIX, BACK), serving=SERVES_6, rollout=None), Wait(), "idle"),
    # desired state changes under way
    "challenger withdrawn": (canary(registry=Registry(SIX)), SetPercent(0), "rolling-back"),
    "challenger replaced": (canary(registry=Registry(SIX, Version("8"))), SetPercent(0), "rolling-back"),
    "replaced, stopped": (
        canary(registry=Registry(SIX, Version("8")), serving=serving(percent=0)),
        Record(None),
        "starting",
    ),
    "replaced, forgotten": (
        canary(registry=Registry(SIX, Version("8")), serving=serving(percent=0), rollout=None),
        SetSpec("8", 0),
        "starting",
    ),
    "champion moved by hand": (canary(registry=Registry(Version("5"), SEVEN)), SetPercent(0), "rolling-back"),
    "stable revision's version unknown": (
        canary(serving=serving(stable_version=""), finding=finding("pass")),
        SetPercent(25),
        "stepped-up",
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(name: str) -> None:
    world, action, phase = SITUATIONS[name]
    decision = decide(world)
    assert (decision.action, decision.phase) == (action, phase), decision.reason
    assert decision.reason


def test_reasons_say_what_to_do() -> None:
    decision = decide(canary(finding=finding("inconclusive"), rollout=rollout(StepRecord(10, NOW - 90_000))))
    assert decision.reason == "inconclusive after 25.0 h at 10 %, promote or abort it: numbers"
    decision = decide(canary(registry=Registry(SIX, BACK), serving=SERVES_6, rollout=None))
    assert "too many errors" in decision.reason
    assert "remove its tag 'rollout' to retry" in decision.reason


@pytest.mark.parametrize("steps", [(), (100,), (10, 50), (0, 100), (50, 25, 100), (10, 10, 100)])
def test_steps_rise_to_100(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="steps must rise"):
        Config(steps=steps)


def test_a_long_reason_is_cut_for_the_tag() -> None:
    action = decide(canary(serving=serving(percent=0), finding=replace(finding("fail"), reason="x" * 9000))).action
    assert isinstance(action, SetTag)
    assert len(action.value) == 1000
