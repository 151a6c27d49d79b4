"""The reconciler's table: one row a situation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from functions.reasons import InitiatedBy
from functions.rollout.actions import Action, DeleteAlias, Hold, Record, SetAlias, SetPercent, SetSpec, SetTag, Wait
from functions.rollout.decision import Config, decide
from functions.rollout.reasons import ReasonCode
from functions.rollout.state import (
    DesiredState,
    ModelVersion,
    Override,
    Rollout,
    RolloutState,
    ServingState,
    StepAnalysis,
    StepRecord,
)
from functions.rollout.version_tag import ROLLOUT_TAG, Outcome, RolloutTag

NOW = 10_000.0
SERVES_6 = ServingState("6", None, True, True, True, "6")
CANARY_7 = ServingState("7", 10, True, True, False, "6")
ALL_7 = ServingState("7", None, True, True, True, "7")
SIX, SEVEN = ModelVersion("6"), ModelVersion("7")
PASSED_TAG = RolloutTag(Outcome.PASSED, "6")
PASSED = ModelVersion("7", {ROLLOUT_TAG: "passed over 6"})
BACK = ModelVersion("7", {ROLLOUT_TAG: "rolled back from 6: too many errors"})
AT_0, AT_10, AT_50 = StepRecord(0, NOW - 900), StepRecord(10, NOW - 600), StepRecord(50, NOW - 60)


def back(text: str, code: ReasonCode, by: InitiatedBy) -> RolloutTag:
    return RolloutTag(Outcome.ROLLED_BACK, "6", text, code, by)


def rollout(*steps: StepRecord, challenger: str = "7", champion: str = "6") -> Rollout:
    return Rollout(challenger, champion, steps)


def analysis(verdict: Any, percent: int = 10, challenger: str = "7") -> StepAnalysis:
    return StepAnalysis(challenger, percent, verdict, ("numbers",))


CANARY = RolloutState(DesiredState(SIX, SEVEN), CANARY_7, rollout(AT_0, AT_10), None, None, NOW)


def canary(**changes: Any) -> RolloutState:
    return replace(CANARY, **changes)


def serving(**changes: Any) -> ServingState:
    return replace(CANARY_7, **changes)


SITUATIONS: dict[str, tuple[RolloutState, Action, str]] = {
    # nothing to reconcile
    "no InferenceService": (canary(serving=None), Hold(), "blocked"),
    "no InferenceService yet": (canary(serving=None, is_new=True), Wait(), "deploying"),
    "no champion": (canary(desired=DesiredState(None, SEVEN)), Hold(), "blocked"),
    "the controller lags": (canary(serving=serving(settled=False)), Wait(), "deploying"),
    "at rest": (canary(desired=DesiredState(SIX), serving=SERVES_6, rollout=None), Wait(), "idle"),
    # the first deployment knows no canary
    "first deployment": (
        canary(desired=DesiredState(SIX), serving=ServingState("0", None, True, False, False, None), rollout=None),
        SetSpec("6", None),
        "deploying",
    ),
    "first deployment, a challenger is pinned": (
        canary(serving=serving(percent=None, ready=False, stable_version=None), rollout=None),
        SetSpec("6", None),
        "deploying",
    ),
    "first deployment starts": (
        canary(desired=DesiredState(SIX), serving=ServingState("6", None, True, False, False, None), rollout=None),
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
        canary(serving=SERVES_6, rollout=None, override=Override("hold", "7")),
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
        SetTag(
            "7", back("its revision was not ready after 1801 s: OOM", ReasonCode.START_TIMEOUT, InitiatedBy.CONTROLLER)
        ),
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
    "evidence of another step": (canary(analysis=analysis("pass", percent=25)), Wait(), "step"),
    "evidence of another version": (canary(analysis=analysis("fail", challenger="5")), Wait(), "step"),
    "inconclusive": (canary(analysis=analysis("inconclusive")), Wait(), "step"),
    "inconclusive for too long": (
        canary(analysis=analysis("inconclusive"), rollout=rollout(AT_0, StepRecord(10, NOW - 86_401))),
        Hold(),
        "held",
    ),
    "passed": (canary(analysis=analysis("pass")), SetPercent(25), "stepped-up"),
    "passed, held": (canary(analysis=analysis("pass"), override=Override("hold", "7")), Hold(), "held"),
    "an override for another version": (
        canary(analysis=analysis("pass"), override=Override("hold", "5")),
        SetPercent(25),
        "stepped-up",
    ),
    "a share between the steps": (
        canary(serving=serving(percent=30), rollout=rollout(StepRecord(30, NOW)), analysis=analysis("pass", 30)),
        SetPercent(50),
        "stepped-up",
    ),
    # promotion, write by write
    "passed the last step": (
        canary(serving=serving(percent=50), rollout=rollout(AT_10, AT_50), analysis=analysis("pass", 50)),
        SetTag("7", PASSED_TAG),
        "promoting",
    ),
    "tagged": (
        canary(desired=DesiredState(SIX, PASSED), serving=serving(percent=50), rollout=rollout(AT_50)),
        SetPercent(None),
        "promoting",
    ),
    "at 100 instead of absent": (
        canary(desired=DesiredState(SIX, PASSED), serving=serving(percent=100), rollout=rollout(AT_50)),
        SetPercent(None),
        "promoting",
    ),
    "not rolled out yet": (
        canary(desired=DesiredState(SIX, PASSED), serving=replace(ALL_7, rolled_out=False, stable_version="6")),
        Wait(),
        "promoting",
    ),
    "rolled out": (
        canary(desired=DesiredState(SIX, PASSED), serving=ALL_7),
        SetAlias(PREVIOUS_CHAMPION, "6"),
        "promoting",
    ),
    "previous champion kept": (
        canary(desired=DesiredState(SIX, PASSED, "6"), serving=ALL_7),
        SetAlias(CHAMPION, "7"),
        "promoting",
    ),
    "champion moved": (
        canary(desired=DesiredState(PASSED, PASSED, "6"), serving=ALL_7),
        SetTag("7", RolloutTag(Outcome.PROMOTED, "6")),
        "promoting",
    ),
    "tag promoted": (
        canary(desired=DesiredState(ModelVersion("7", {ROLLOUT_TAG: "promoted over 6"}), SEVEN, "6"), serving=ALL_7),
        DeleteAlias(CHALLENGER),
        "finished",
    ),
    "the record is left": (
        canary(desired=DesiredState(SEVEN, None, "6"), serving=ALL_7, rollout=rollout(AT_50)),
        Record(None),
        "finished",
    ),
    "promoted by the operator": (
        canary(override=Override("promote", "7")),
        SetTag("7", PASSED_TAG),
        "promoting",
    ),
    "the operator cannot promote what failed": (
        canary(override=Override("promote", "7"), analysis=analysis("fail")),
        SetPercent(0),
        "rolling-back",
    ),
    "all traffic without a passed canary": (canary(serving=ALL_7), SetSpec("6", 0), "rolling-back"),
    "passed against another champion": (
        canary(desired=DesiredState(SIX, ModelVersion("7", {ROLLOUT_TAG: "passed over 5"})), serving=ALL_7),
        SetSpec("6", 0),
        "rolling-back",
    ),
    "fails between the tag and the alias": (
        canary(desired=DesiredState(SIX, PASSED), serving=ALL_7, analysis=analysis("fail", 50)),
        SetTag("7", back("failed at 50%: numbers", ReasonCode.ANALYSIS_FAILED, InitiatedBy.ANALYSIS)),
        "rolling-back",
    ),
    # rollback, write by write
    "failed": (canary(analysis=analysis("fail")), SetPercent(0), "rolling-back"),
    "failed while held": (
        canary(analysis=analysis("fail"), override=Override("hold", "7")),
        SetPercent(0),
        "rolling-back",
    ),
    "aborted": (canary(override=Override("abort", "7")), SetPercent(0), "rolling-back"),
    "share taken back": (
        canary(serving=serving(percent=0), analysis=analysis("fail")),
        SetTag("7", back("failed at 10%: numbers", ReasonCode.ANALYSIS_FAILED, InitiatedBy.ANALYSIS)),
        "rolling-back",
    ),
    "share taken back, evidence forgotten": (
        canary(serving=serving(percent=0)),
        SetTag("7", back("its share was taken back from 10%", ReasonCode.SHARE_WITHDRAWN, InitiatedBy.CONTROLLER)),
        "rolling-back",
    ),
    "tagged rolled back": (
        canary(desired=DesiredState(SIX, BACK), serving=serving(percent=0)),
        SetSpec("6", 0),
        "rolling-back",
    ),
    "the champion's revision starts": (
        canary(desired=DesiredState(SIX, BACK), serving=ServingState("6", 0, True, False, False, "6")),
        Wait(),
        "rolling-back",
    ),
    "the champion's revision is ready": (
        canary(desired=DesiredState(SIX, BACK), serving=ServingState("6", 0, True, True, False, "6")),
        SetPercent(None),
        "rolling-back",
    ),
    "rolled back": (canary(desired=DesiredState(SIX, BACK), serving=SERVES_6, rollout=None), Wait(), "idle"),
    # desired state changes under way
    "challenger withdrawn": (canary(desired=DesiredState(SIX)), SetPercent(0), "rolling-back"),
    "challenger replaced": (canary(desired=DesiredState(SIX, ModelVersion("8"))), SetPercent(0), "rolling-back"),
    "replaced, stopped": (
        canary(desired=DesiredState(SIX, ModelVersion("8")), serving=serving(percent=0)),
        Record(None),
        "starting",
    ),
    "replaced, forgotten": (
        canary(desired=DesiredState(SIX, ModelVersion("8")), serving=serving(percent=0), rollout=None),
        SetSpec("8", 0),
        "starting",
    ),
    "champion moved by hand": (canary(desired=DesiredState(ModelVersion("5"), SEVEN)), SetPercent(0), "rolling-back"),
    "stable revision's version unknown": (
        canary(serving=serving(stable_version=""), analysis=analysis("pass")),
        SetPercent(25),
        "stepped-up",
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(name: str) -> None:
    state, action, phase = SITUATIONS[name]
    decision = decide(state)
    assert (decision.action, decision.phase) == (action, phase), str(decision.reason)
    assert str(decision.reason)


def test_reasons_say_what_to_do() -> None:
    decision = decide(canary(analysis=analysis("inconclusive"), rollout=rollout(StepRecord(10, NOW - 90_000))))
    assert str(decision.reason) == "inconclusive after 25.0 h at 10%, promote or abort it: numbers"
    decision = decide(canary(desired=DesiredState(SIX, BACK), serving=SERVES_6, rollout=None))
    assert "too many errors" in str(decision.reason)
    assert "remove its tag 'rollout' to retry" in str(decision.reason)


@pytest.mark.parametrize("steps", [(), (100,), (10, 50), (0, 100), (50, 25, 100), (10, 10, 100)])
def test_steps_rise_to_100(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="steps must rise"):
        Config(steps=steps)


def test_a_long_reason_is_cut_for_the_tag() -> None:
    action = decide(
        canary(serving=serving(percent=0), analysis=replace(analysis("fail"), details=("x" * 9000,)))
    ).action
    assert isinstance(action, SetTag)
    assert len(action.tag.encode()) == 1000
