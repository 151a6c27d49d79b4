"""What a step still needs: a forecast is right when so many more answers of the same kind let the guard pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from functions.rollout import store
from functions.rollout.analysis import Config, analyse
from functions.rollout.evidence import Arm, StepEvidence
from functions.rollout.forecast import Need, NeedState, Unit, needs, step_seconds

CONFIG = Config()
SINCE = 1000.0


def arm(n: float, accuracy: float, labelled: float, failures: float) -> Arm:
    answered = round(n) - round(n * failures)
    labels = round(answered * labelled)
    correct: Any = labels * accuracy  # not rounded: the difference stays exactly as it is
    squares, fourths = correct * 0.04 + (labels - correct) * 0.64, correct * 0.0016 + (labels - correct) * 0.4096
    letters = {"A": answered // 2, "B": answered - answered // 2}
    return Arm(round(n), round(n * failures), {17: answered}, letters, labels, correct, squares, fourths)


def measured(
    at: float, percent: int, n: float, worse: float = 0.0, labelled: float = 0.5, failures: float = 0.0
) -> dict[str, Any]:
    """The measurement of `n` requests, as it is stored."""
    champion = arm(n * (100 - percent) / 100, 0.8, labelled, 0.0)
    challenger = arm(n * percent / 100, 0.8 - worse, labelled, failures)
    found = analyse([StepEvidence(percent, SINCE, champion, challenger)], at, CONFIG)
    return {"at": at, "percent": percent, **store.plain_json(found.to_dict())}


def by_guard(found: list[Need]) -> Mapping[str, Need]:
    return {str(need.guard): need for need in found}


@pytest.mark.parametrize("percent", [10, 25, 50])
@pytest.mark.parametrize("worse", [0.0, 0.01, -0.02])
@pytest.mark.parametrize("n", [500, 1500])
def test_so_many_more_answers_let_a_guard_pass(percent: int, worse: float, n: int) -> None:
    """Within a fifth: variances are estimated again from more answers."""
    history = [measured(SINCE, percent, 0), measured(SINCE + 600, percent, n, worse)]
    for need in needs(history, SINCE, CONFIG):
        if need.more is None or need.state is NeedState.ASSUMED:
            continue
        per_request = {Unit.REQUESTS: 1.0, Unit.ANSWERS: 1.0, Unit.LABELS: 0.5}[need.unit]
        for factor, passes in ((1.2, True), (0.8, False)):
            total = n + need.more / per_request * factor
            later = measured(SINCE + 600, percent, total, worse)
            measure = next(m for m in later["measures"] if m["guard"] == need.guard)
            if need.more > 40 or passes:
                assert (measure["high"] < measure["margin"]) is passes, (need, measure)


def test_states() -> None:
    history = [measured(SINCE, 50, 0, labelled=0.0), measured(SINCE + 600, 50, 600, labelled=0.0)]
    found = by_guard(needs(history, SINCE, CONFIG))
    accuracy = found["accuracy"]
    assert (accuracy.state, accuracy.unit, accuracy.per_hour, accuracy.seconds) == ("assumed", "labels", 0.0, None)
    assert accuracy.more is not None
    equal = measured(SINCE + 600, 50, accuracy.more * 1.02, labelled=1.0)
    assert next(m for m in equal["measures"] if m["guard"] == "accuracy")["verdict"] == "pass", (
        "enough for any accuracy"
    )
    assert found["failures"].per_hour == pytest.approx(3600)
    assert step_seconds(list(found.values()), history[-1], SINCE, CONFIG) is None, "no labels arrive"

    worse = by_guard(needs([measured(SINCE + 600, 50, 400, worse=0.06)], SINCE, CONFIG))["accuracy"]
    assert (worse.state, worse.more, worse.seconds) == ("beyond", None, None)
    failing = by_guard(needs([measured(SINCE + 600, 50, 4000, failures=0.2)], SINCE, CONFIG))["failures"]
    assert (failing.state, failing.more) == ("failed", None)
    passed = measured(SINCE + 900, 50, 40_000)
    done = needs([measured(SINCE, 50, 0), passed], SINCE, CONFIG)
    assert {need.state for need in done} == {NeedState.PROVEN}
    assert step_seconds(done, passed, SINCE, CONFIG) == 0.0


def test_a_step_lasts_its_least_time_and_requests() -> None:
    young = measured(SINCE + 60, 10, 40_000)
    found = needs([measured(SINCE, 10, 0), young], SINCE, CONFIG)
    assert step_seconds(found, young, SINCE, CONFIG) == pytest.approx(240)
    few = measured(SINCE + 600, 10, 500, labelled=1.0)  # 50 of 100 requests
    seconds = step_seconds(needs([measured(SINCE, 10, 0), few], SINCE, CONFIG), few, SINCE, CONFIG)
    assert seconds is not None
    assert seconds >= 600


def test_the_rate_is_the_present_one() -> None:
    """An hour of traffic, then silence: there is no forecast for a step that nobody asks any more."""
    history = [measured(SINCE + 60 * k, 10, 10 * min(k, 60)) for k in range(241)]
    found = by_guard(needs(history, SINCE, CONFIG))["failures"]
    assert found.per_hour == 0.0
    assert found.seconds is None
    assert needs([], SINCE, CONFIG) == []
    first = needs(history[:1], SINCE, CONFIG)
    assert all(need.per_hour is None for need in first)


def test_what_another_release_stored_is_unknown() -> None:
    row = measured(SINCE + 600, 10, 500)
    row["measures"] = [{name: m[name] for name in m if name not in ("guard", "of")} for m in row["measures"]]
    assert {need.state for need in needs([row], SINCE, CONFIG)} <= {NeedState.PROVEN, NeedState.UNKNOWN}
    assert not any(math.isnan(need.seconds or 0) for need in needs([row], SINCE, CONFIG))
