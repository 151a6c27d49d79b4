from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipelines import quality_gate
from pipelines.evaluation.answer_records import AnswerRecord
from pipelines.quality_gate import CheckCode, GateConfig, GateError, GateResult, PairedAnswers, evaluate_gate

CONFIG = GateConfig()


def record(i: int, right: bool, confidence: float = 0.7, chosen: int | None = None) -> AnswerRecord:
    answer = i % 4
    letter = chosen if chosen is not None else answer if right else (answer + 1) % 4
    rest = (1 - confidence) / 3
    return AnswerRecord(
        str(i), "", answer, letter, tuple(confidence if k == letter else rest for k in range(4)), 0.99, 100
    )


def pairs(both: int, gained: int, lost: int, neither: int, confidence: float = 0.7) -> PairedAnswers:
    outcomes = [(True, True)] * both + [(False, True)] * gained + [(True, False)] * lost + [(False, False)] * neither
    champion = tuple(record(i, a) for i, (a, _) in enumerate(outcomes))
    return PairedAnswers(champion, tuple(record(i, b, confidence) for i, (_, b) in enumerate(outcomes)))


BETTER = pairs(250, 75, 25, 150)
EQUAL = pairs(300, 20, 20, 160)
TIMES = ([0.1] * 200, [0.1] * 200)


def decided(
    current: PairedAnswers = BETTER,
    old: PairedAnswers | None = EQUAL,
    seconds: Any = TIMES,
    config: GateConfig = CONFIG,
) -> GateResult:
    return evaluate_gate(current, old, seconds, config)


@pytest.mark.parametrize("confidence", [0.25, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("noise", [1e-7, -1e-7, 1e-16])
def test_float_noise_changes_no_verdict(confidence: float, noise: float) -> None:
    """The same answers on another processor; also where every confidence lies on the edge of a bin."""

    def answered(shift: float) -> tuple[AnswerRecord, ...]:
        moved = (min(1.0, confidence + shift * (i % 3 - 1)) for i in range(500))
        return tuple(record(i, i % 10 < 7, c) for i, c in enumerate(moved))

    same, beside = PairedAnswers(answered(0.0), answered(0.0)), PairedAnswers(answered(0.0), answered(noise))
    times = [0.1 + 1e-9 * i for i in range(200)]
    verdicts = [[(c.name, c.verdict) for c in evaluate_gate(p, p, (times, times[::-1])).checks] for p in (same, beside)]
    assert verdicts[0] == verdicts[1]


def test_a_better_challenger_passes_and_says_what_it_rests_on() -> None:
    result = decided()
    assert result.verdict == "pass", result.reasons
    assert {c.name for c in result.checks} == {
        "improvement",
        "old mix",
        "calibration",
        "calibration error",
        "letter bias",
        "latency",
    }
    assert result.reasons[0].startswith("improvement: 75 questions gained, 25 lost of 500 (+10.0 points, +6.")
    assert "with 80% power this holdout shows +5.0 points or more" in result.reasons[0]
    data = json.loads(json.dumps(result.to_dict()))
    assert data["verdict"] == "pass"
    assert data["checks"][0]["numbers"]["detectable"] == pytest.approx(0.0496, abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "verdict", "named"),
    [
        ({"current": pairs(300, 52, 48, 100)}, "inconclusive", "+3.0 points takes 1372 questions"),
        ({"current": pairs(300, 25, 75, 100)}, "fail", "improvement"),
        ({"current": pairs(3000, 200, 200, 1600)}, "fail", "improvement of +3.0 points is excluded"),
        ({"current": pairs(20, 30, 0, 20)}, "inconclusive", "70 questions, at least 100 needed"),
        ({"current": pairs(400, 0, 0, 100)}, "fail", "improvement of +3.0 points is excluded"),
        ({"old": None}, "inconclusive", "old mix: not measured"),
        ({"old": pairs(40, 5, 5, 50)}, "inconclusive", "old mix: +0.0 points"),
        ({"old": pairs(300, 5, 65, 130)}, "fail", "old mix: -12.0 points"),
        ({"seconds": None}, "inconclusive", "latency: not measured"),
        ({"seconds": ([0.1] * 200, [0.2] * 200)}, "fail", "latency: 2.00 times"),
        ({"seconds": ([0.1] * 20, [0.1] * 10 + [0.2] * 10)}, "inconclusive", "latency: 1.50 times"),
    ],
)
def test_table(arguments: dict[str, Any], verdict: str, named: str) -> None:
    result = decided(**arguments)
    assert result.verdict == verdict
    assert any(named in reason for reason in result.reasons), result.reasons


@pytest.mark.parametrize(
    ("arguments", "check", "code"),
    [
        ({}, "improvement", CheckCode.PROVEN_BETTER),
        ({"current": pairs(300, 52, 48, 100)}, "improvement", CheckCode.IMPROVEMENT_NOT_PROVEN),
        ({"current": pairs(3000, 200, 200, 1600)}, "improvement", CheckCode.IMPROVEMENT_EXCLUDED),
        ({"current": pairs(20, 30, 0, 20)}, "improvement", CheckCode.TOO_FEW_QUESTIONS),
        ({"current": pairs(20, 30, 0, 20)}, "calibration", CheckCode.TOO_FEW_QUESTIONS),
        ({}, "old mix", CheckCode.WITHIN_MARGIN),
        ({"old": None}, "old mix", CheckCode.NOT_MEASURED),
        ({"old": pairs(40, 5, 5, 50)}, "old mix", CheckCode.MARGIN_NOT_EXCLUDED),
        ({"old": pairs(300, 5, 65, 130)}, "old mix", CheckCode.MARGIN_EXCEEDED),
        ({"seconds": None}, "latency", CheckCode.NOT_MEASURED),
        ({"seconds": ([0.1] * 200, [0.2] * 200)}, "latency", CheckCode.MARGIN_EXCEEDED),
    ],
)
def test_each_check_has_a_code(arguments: dict[str, Any], check: str, code: CheckCode) -> None:
    result = decided(**arguments)
    assert {c.name: c.code for c in result.checks}[check] == code
    assert {c["name"]: c["code"] for c in json.loads(json.dumps(result.to_dict()))["checks"]}[check] == code.value


def test_an_overconfident_challenger_fails() -> None:
    result = decided(current=pairs(250, 75, 25, 150, confidence=0.999))
    assert result.verdict == "fail"
    assert {c.name for c in result.checks if c.verdict == "fail"} >= {"calibration error"}


def test_a_worse_brier_score_fails() -> None:
    current = pairs(150, 75, 25, 250, confidence=0.99)
    check = quality_gate.check_calibration(current, CONFIG)[0]
    assert (check.name, check.verdict) == ("calibration", "fail")


def test_a_calibration_that_cannot_be_told_is_inconclusive() -> None:
    """As good on average, and as often much better as much worse: 100 questions do not exclude a loss of the margin."""
    check = quality_gate.check_calibration(pairs(20, 30, 30, 20), CONFIG)[0]
    assert check.verdict == "inconclusive"
    assert check.numbers["brier_change"] == pytest.approx(0)
    assert quality_gate.check_calibration(pairs(400, 30, 30, 400), CONFIG)[0].verdict == "pass"


def test_a_challenger_that_favours_one_letter_fails() -> None:
    champion = tuple(record(i, i % 10 < 6) for i in range(400))
    biased = tuple(record(i, True) if i % 4 == 0 or i % 3 == 0 else record(i, False, chosen=0) for i in range(400))
    check = quality_gate.check_letter_bias(PairedAnswers(champion, biased), 0.1)
    assert check.verdict == "fail"
    assert quality_gate.check_letter_bias(PairedAnswers(champion, champion), 0.1).verdict == "pass"


def test_guards_that_are_off_are_not_asked() -> None:
    off = GateConfig(old_margin=None, brier_margin=None, ece_margin=None, letter_margin=None, latency_factor=None)
    result = evaluate_gate(BETTER, config=off)
    assert result.verdict == "pass"
    assert [c.name for c in result.checks] == ["improvement"]


def test_small_holdouts_have_no_calibration_error() -> None:
    names = [c.name for c in decided(current=pairs(60, 60, 10, 70)).checks]
    assert "calibration" in names
    assert "calibration error" not in names


def test_letter_bias_is_nothing_when_chance_explains_it() -> None:
    rng = np.random.default_rng(1)
    biases = [quality_gate.letter_bias([record(i, bool(rng.random() < 0.6)) for i in range(500)]) for _ in range(200)]
    assert float(np.mean([x**2 for x in biases])) < 0.001
    always_a = [record(i, i % 4 == 0, chosen=0) for i in range(400)]
    assert quality_gate.letter_bias(always_a) == pytest.approx(0.433, abs=0.001)
    assert quality_gate.letter_bias([]) == 0


@pytest.mark.parametrize(
    ("champion", "challenger", "message"),
    [
        ([record(1, True)], [record(2, True)], "2 questions were answered by only one version, '1' among them"),
        ([record(1, True)] * 2, [record(1, True)], "answered the same question twice"),
        ([record(1, True)], [replace(record(1, True), answer=3)], "right answer 1 for one version, 3 for the other"),
    ],
)
def test_unpaired_evaluations_are_refused(
    champion: Sequence[AnswerRecord], challenger: Sequence[AnswerRecord], message: str
) -> None:
    with pytest.raises(GateError, match=message):
        PairedAnswers.join(champion, challenger)


def test_joining_ignores_the_order() -> None:
    champion = [record(i, True) for i in range(5)]
    assert PairedAnswers.join(champion, champion[::-1]).challenger == tuple(champion)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost, alternative="greater").pvalue if gained + lost else 1.0
    assert quality_gate.mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_thousands_of_discordant_questions() -> None:
    assert quality_gate.mcnemar(2100, 2000) == pytest.approx(binomtest(2100, 4100, alternative="greater").pvalue)


@pytest.mark.parametrize(("difference", "needed"), [(0.08, 192), (0.05, 493), (0.03, 1372), (0.02, 3090)])
def test_power_at_a_fifth_discordant(difference: float, needed: int) -> None:
    assert quality_gate.questions_needed(difference, 0.2, 0.05, 0.8) == needed
    seen = quality_gate.detectable(needed, 0.2, 0.05, 0.8)
    assert seen == pytest.approx(difference, rel=0.01)


def test_the_power_stated_is_the_power_simulated() -> None:
    rng = np.random.default_rng(2)
    b_c = rng.multinomial(493, [0.125, 0.075, 0.8], size=2000)
    power = np.mean([quality_gate.mcnemar(int(b), int(c)) <= 0.05 for b, c, _ in b_c])
    assert power == pytest.approx(0.8, abs=0.05)


def test_nothing_can_be_detected_without_discordance() -> None:
    assert quality_gate.detectable(500, 0.0, 0.05, 0.8) is None
    assert quality_gate.detectable(3, 0.2, 0.05, 0.8) is None


def test_a_time_of_nothing_is_refused() -> None:
    with pytest.raises(GateError, match="0 s"):
        quality_gate.check_latency(([0.0], [0.1]), 1.25, 0.05)
