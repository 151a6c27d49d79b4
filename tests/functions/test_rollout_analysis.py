from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from functions.rollout.analysis import AnalysisResult, Config, Limit, analyse
from functions.rollout.evidence import Arm, StepEvidence

SINCE, NOW = 0.0, 3600.0


def arm(n: int, accuracy: float = 0.7, labelled: float = 1.0, errors: float = 0.0, slow: float = 0.02) -> Arm:
    """An arm of `n` requests at exactly these rates."""
    failures = round(n * errors)
    answered = n - failures
    late, labels = round(answered * slow), round(answered * labelled)
    correct = round(labels * accuracy)
    squares = correct * 0.09 + (labels - correct) * 0.49
    fourths = correct * 0.0081 + (labels - correct) * 0.2401
    letters = dict.fromkeys("ABCD", answered // 4)
    return Arm(n, failures, {20: answered - late, 30: late}, letters, labels, correct, squares, fourths)


def step(percent: int, total: int, challenger: dict[str, Any] | None = None, **champion: Any) -> StepEvidence:
    n = total * percent // 100
    return StepEvidence(percent, SINCE, arm(total - n, **champion), arm(n, **{**champion, **(challenger or {})}))


def measure(found: AnalysisResult, name: str) -> Any:
    return next(m for m in found.measures if name in m.name)


@pytest.mark.parametrize(
    ("percent", "total", "challenger", "verdict", "named"),
    [
        (10, 0, {}, "inconclusive", "0 of at least 100 requests"),
        (10, 900, {}, "inconclusive", "90 of at least 100 requests"),
        (10, 2000, {}, "pass", "accuracy"),
        (50, 2000, {}, "inconclusive", "accuracy"),  # the same number is too few for the last step's margin
        (50, 8000, {}, "pass", "accuracy"),
        (50, 8000, {"accuracy": 0.62}, "fail", "accuracy 0.620 against 0.700: worse by +0.080"),
        (50, 800, {"accuracy": 0.9}, "pass", "accuracy"),
        (50, 8000, {"accuracy": 0.67}, "inconclusive", "accuracy"),
        (50, 8000, {"errors": 0.03}, "fail", "failures 0.030 against 0.000"),
        (10, 2000, {"errors": 1.0}, "fail", "failures 1.000"),
        (50, 8000, {"slow": 0.3}, "fail", "responses over"),
        (50, 8000, {"labelled": 0.0}, "inconclusive", "accuracy: no evidence yet"),
        (50, 8000, {"labelled": 0.001}, "inconclusive", "accuracy"),
    ],
)
def test_one_step(percent: int, total: int, challenger: dict[str, Any], verdict: str, named: str) -> None:
    analysis = analyse([step(percent, total, challenger)], NOW)
    assert analysis.verdict == verdict, analysis.reason
    assert named in analysis.reason


def test_a_step_lasts_its_minimum() -> None:
    analysis = analyse([step(50, 8000)], SINCE + 60)
    assert (analysis.verdict, analysis.reason) == (
        "inconclusive",
        "4000 of at least 100 requests, 60 of at least 300 s at 50%",
    )


def test_a_clock_that_runs_behind_is_no_minimum_reached() -> None:
    assert analyse([step(50, 8000)], SINCE - 900).verdict == "inconclusive"


def test_silence_is_a_failure() -> None:
    """A revision that dies with its logger leaves neither requests nor failures, only less than its share."""
    analysis = analyse([StepEvidence(10, SINCE, arm(1000), arm(20))], NOW)
    assert analysis.verdict == "fail"
    assert analysis.reason.startswith("share of requests 0.020 against 0.100")


def test_steps_are_compared_within_and_combined() -> None:
    """The mix got harder between two steps: both versions lost 30 points, and the challenger is as good."""
    easy, hard = step(10, 9000, accuracy=0.9), step(50, 9000, accuracy=0.6)
    analysis = measure(analyse([easy, hard], NOW), "accuracy")
    assert analysis.worse_by == pytest.approx(0, abs=0.002)
    assert analysis.verdict == "pass"
    assert analysis.challenger < analysis.champion - 0.1, "though its pooled accuracy is much lower"
    alone = measure(analyse([hard], NOW), "accuracy")
    assert analysis.high - analysis.low < alone.high - alone.low, "earlier steps count"


def test_a_step_with_a_handful_of_labels_does_not_count() -> None:
    """Nine right answers of nine have no variance worth the name."""
    handful = StepEvidence(10, SINCE, arm(900), arm(9, accuracy=1.0))
    whole = step(50, 4000)
    assert measure(analyse([handful, whole], NOW), "accuracy").worse_by == pytest.approx(0, abs=1e-9)


def letters(champion: str, challenger: str, accuracy: float = 0.7) -> AnalysisResult:
    base = step(50, 8000, {"accuracy": accuracy})
    a, b = ({k: 1000 * text.count(k) for k in set(text)} for text in (champion, challenger))
    return analyse(
        [replace(base, champion=replace(base.champion, letters=a), challenger=replace(base.challenger, letters=b))], NOW
    )


def test_a_letter_that_takes_over_fails() -> None:
    actual = letters("ABCD", "AABC")
    assert actual.verdict == "fail"
    assert "letter" in actual.reason


def test_a_letter_shift_is_excused_by_accuracy_proven_better() -> None:
    assert letters("AABC", "ABCD", accuracy=0.85).verdict == "pass"


def test_early_margins_are_wider_and_follow_the_exposure() -> None:
    config = Config()
    assert [config.widening(p) for p in (5, 10, 25, 50, 75)] == [3, 3, 2, 1, 1]
    assert measure(analyse([step(25, 900)], NOW), "accuracy").margin == pytest.approx(0.10)


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("noise", [1e-7, -1e-7, 1e-16])
def test_float_noise_changes_no_verdict(confidence: float, noise: float) -> None:
    """Every answer equally certain: there is no spread but that of rounding."""

    def arm(n: int, shift: float) -> Arm:
        squares = [(confidence + shift * (i % 3 - 1) - (i % 10 < 7)) ** 2 for i in range(n)]
        fourths = sum(square * square for square in squares)
        return Arm(n, 0, {20: n}, {"A": n}, n, sum(i % 10 < 7 for i in range(n)), sum(squares), fourths)

    for challenger in (300, 5000):
        actual = [
            analyse([StepEvidence(50, 0.0, arm(5000, 0.0), arm(challenger, shift))], 1e4) for shift in (0.0, noise)
        ]
        assert [(m.name, m.verdict) for m in actual[0].measures] == [(m.name, m.verdict) for m in actual[1].measures]
        assert actual[0].verdict == actual[1].verdict


def test_the_evidence_is_json() -> None:
    data = json.loads(json.dumps(analyse([step(10, 2000)], NOW).to_dict()))
    assert [m["name"] for m in data["measures"]][:2] == ["share of requests", "failures"]
    assert data["measures"][1]["n_challenger"] == 200


@pytest.mark.parametrize(("margin", "harm"), [(0, 0), (0.1, 0.2), (0.1, -0.1)])
def test_impossible_limits_are_refused(margin: float, harm: float) -> None:
    with pytest.raises(ValueError, match="0 <= harm <= margin"):
        Limit(margin, harm)
