"""Accept as normal, without a database: what becomes the baseline, what is refused, what is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
from loop_parts import features

from functions.drift.acceptance import (
    MAX_NAME,
    NothingAcceptedError,
    TooFewAnswersError,
    accepted,
    measure_baseline,
    named,
    undone,
)
from functions.drift.decision import Config, State, evaluate
from functions.drift.reasons import ReasonCode
from functions.drift.reference import FEATURES, parse
from functions.drift.window import Window
from functions.reasons import InitiatedBy, read_reason

Chunk = tuple[dict[str, Sequence[float | None]], Sequence[str]]


def chunks(*answers: tuple[int, int, float]) -> Iterator[Chunk]:
    """(how many, seed, shift of confidence) each."""
    for count, seed, shift in answers:
        yield features(count, seed, shift), ["ABCD"[i % 4] for i in range(count)]


def test_a_baseline_is_the_reference_of_these_answers() -> None:
    measured = measure_baseline("7", chunks((300, 1, 1.0), (400, 2, 1.0)), 200)
    assert (measured.n, measured.reference.n) == (700, 700)
    assert set(measured.reference.features) == set(FEATURES)
    assert measured.reference.letters == {"A": 175, "B": 175, "C": 175, "D": 175}
    assert parse(measured.reference.to_json()) == measured.reference, "in the form of a version's own"


def test_what_was_drift_is_none_against_it() -> None:
    usual = measure_baseline("7", chunks((1000, 0, 0.0)), 200).reference
    moved = measure_baseline("7", chunks((1000, 1, 1.0)), 200).reference
    verdicts = []
    for reference in (usual, moved):
        window = Window(reference)
        for values, letters in chunks((1000, 2, 1.0)):
            window.add(values, letters)  # type: ignore[arg-type]
        verdicts.append(evaluate(reference, window.summary(), State("7", 1.0), 2.0, Config()).verdict)
    assert verdicts == ["suspect", "no-drift"]


@pytest.mark.parametrize(("answers", "found"), [([], 0), ([(199, 1, 0.0)], 199), ([(100, 1, 0.0), (99, 2, 0.0)], 199)])
def test_too_few_answers_are_refused(answers: list[tuple[int, int, float]], found: int) -> None:
    with pytest.raises(TooFewAnswersError, match=f"{found} answers of version 7 are too few .*200 needed.*earlier"):
        measure_baseline("7", chunks(*answers), 200)


def test_a_feature_that_few_answers_carry_is_left_out() -> None:
    values = features(300, 1)
    partly = [None if i >= 150 else v for i, v in enumerate(values["entropy"])]
    strange = [float("nan"), float("inf"), *values["margin"][2:]]
    measured = measure_baseline("7", [({**values, "entropy": partly, "margin": strange}, ["A"] * 300)], 200)
    assert "entropy" not in measured.reference.features
    assert measured.reference.features["margin"].n == 298
    bare = ({name: [None] * 300 for name in FEATURES}, ["A"] * 300)
    with pytest.raises(TooFewAnswersError, match="0 answers"):
        measure_baseline("7", [bare], 200)


def test_the_record_of_an_acceptance_begins_anew() -> None:
    check = accepted("7", 812, 100.0, 200.0, "hana\n")
    assert (check.verdict, check.alarm, check.n) == ("no-drift", False, 812)
    assert (check.window_start, check.window_end, check.evidence) == (100.0, 200.0, ())
    assert check.state == State("7", 200.0), "no streak and no alarm is left"
    assert check.reason.initiated_by is InitiatedBy.OPERATOR
    assert str(check.reason) == "812 answers of version 7 are its baseline from now on: accepted by hana"
    stored = json.loads(json.dumps(check.reason.to_columns()))
    assert read_reason(ReasonCode, stored) == check.reason
    assert (stored["reason_params"]["since"], stored["reason_params"]["by"]) == (100.0, "hana")


@pytest.mark.parametrize(("open_since", "end"), [(150.0, 200.0), (250.0, 250.0), (None, 200.0)])
def test_the_record_of_taking_it_back_leaves_the_window_open(open_since: float | None, end: float) -> None:
    check = undone("7", 12, open_since, 200.0, "hana")
    assert (check.verdict, check.alarm, check.n, check.window_end) == ("insufficient", False, 0, end)
    assert check.state == State("7", open_since)
    assert str(check.reason) == "the accepted baseline of version 7 no longer counts: undone by hana"
    assert check.reason.params == {"version": "7", "check": 12, "by": "hana"}


@pytest.mark.parametrize(
    ("given", "shown"),
    [("hana", "hana"), ("  two\nlines\x00\x1b[31m ", "two lines [31m"), ("", "operator"), ("x" * 999, "x" * MAX_NAME)],
)
def test_a_name_is_one_line(given: str, shown: str) -> None:
    assert named(given) == shown


def test_nothing_accepted_says_what_counts() -> None:
    assert "reference.json" in str(NothingAcceptedError("7"))
