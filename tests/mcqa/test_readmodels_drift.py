"""The figures of the drift page, without a database: bins, subjects, steps of time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mcqa.readmodels.drift_accuracy import SPANS, points, steps_until
from mcqa.readmodels.drift_distributions import BINS, _letters, histogram
from mcqa.readmodels.drift_queries import Confidence, LabelledAnswer
from mcqa.readmodels.drift_subjects import compare


def shares(bins: Any, side: str) -> list[float]:
    return [bin[side] for bin in bins]


def test_bins_hold_every_value_of_both() -> None:
    rng = np.random.default_rng(1)
    baseline, current = rng.normal(0, 1, 2000), rng.normal(1, 1, 300)
    bins = histogram(baseline.tolist(), current.tolist())
    assert len(bins) == BINS
    assert all(a["high"] == b["low"] for a, b in itertools.pairwise(bins))
    assert sum(shares(bins, "baseline")) == pytest.approx(1)
    assert sum(shares(bins, "current")) == pytest.approx(1)
    centres = [(bin["low"] + bin["high"]) / 2 for bin in bins]
    assert np.dot(centres, shares(bins, "current")) == pytest.approx(1, abs=0.2)


def test_one_far_value_does_not_squeeze_the_rest() -> None:
    bins = histogram([0.0, 1.0] * 500, [0.5] * 999 + [1e9])
    assert bins[-1]["high"] < 2
    assert sum(shares(bins, "current")) == pytest.approx(1)


@pytest.mark.parametrize(
    ("baseline", "current", "whole", "edges"),
    [
        ([1.0] * 5, [1.0] * 3, False, [(1.0, 1.0)]),
        ([1.0] * 5, [], False, [(1.0, 1.0)]),
        ([50.0, 51.0], [52.0], True, [(50.0, 51.0), (51.0, 52.0), (52.0, 53.0)]),
        ([50.0], [50.0], True, [(50.0, 51.0)]),
    ],
)
def test_narrow_ranges(
    baseline: list[float], current: list[float], whole: bool, edges: list[tuple[float, float]]
) -> None:
    bins = histogram(baseline, current, whole)
    assert [(bin["low"], bin["high"]) for bin in bins] == edges
    assert sum(shares(bins, "baseline")) == pytest.approx(1)
    assert sum(shares(bins, "current")) == (pytest.approx(1) if current else 0)


def test_whole_numbers_have_bins_of_equal_whole_width() -> None:
    bins = histogram(list(range(20, 400)), list(range(200, 900)), whole=True)
    widths = {bin["high"] - bin["low"] for bin in bins}
    assert len(widths) == 1
    assert widths.pop().is_integer()
    assert len(bins) <= BINS + 1


def test_letters_of_both_sides() -> None:
    found = _letters({"A": 3, "B": 1}, ["A", "C"])
    assert [(s["letter"], s["baseline"], s["current"], s["n"]) for s in found] == [
        ("A", 0.75, 0.5, 1), ("B", 0.25, 0.0, 0), ("C", 0.0, 0.5, 1),
    ]  # fmt: skip
    assert _letters({}, []) == []


def test_subjects_that_grew_come_first() -> None:
    found = compare({"sql": 300, "lists": 480, None: 20}, {"sql": 10, "lists": 970, None: 20})
    assert [(s["subject"], s["grew"]) for s in found] == [("sql", True), (None, False), ("lists", False)]
    first = found[0]
    assert first["gain"] == pytest.approx(0.365)
    assert first["low"] is not None
    assert first["high"] is not None
    assert first["low"] < 0.365 < first["high"]


@pytest.mark.parametrize(
    ("now", "before", "grew"),
    [
        ({"sql": 10}, {}, [False]),  # nothing to compare with
        ({}, {"sql": 10}, [False]),
        ({"sql": 3, "lists": 7}, {"sql": 2, "lists": 8}, [False, False]),  # noise
        ({"sql": 520, "lists": 480}, {"sql": 500, "lists": 500}, [False, False]),
        ({}, {}, []),
    ],
)
def test_what_did_not_grow(now: dict[str | None, int], before: dict[str | None, int], grew: list[bool]) -> None:
    found = compare(now, before)
    assert [s["grew"] for s in found] == grew
    assert all((s["gain"] is None) == (not now or not before) for s in found)


@pytest.mark.parametrize("span", SPANS)
def test_steps_cover_the_span_and_now(span: Any) -> None:
    length, step = SPANS[span]
    now, ahead = 1_700_003_456.0, 7 * 3600.0
    steps = steps_until(now, length, step, ahead)
    assert steps[-1][0] <= now < steps[-1][1]
    assert len(steps) == round(length / step)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(steps))
    assert all((begin + ahead) % step == 0 for begin, _ in steps)


def test_points_are_of_steps_in_which_something_was_measured() -> None:
    steps = [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)]
    confidences = {("7", 0.0): Confidence(100, 0.8, 0.65), ("7", 10.0): Confidence(0, 0.0, 0.0)}
    labelled = [
        *[LabelledAnswer(25.0, "8", True)] * 9,
        LabelledAnswer(25.0, "8", False),
        LabelledAnswer(30.0, "8", True),  # after the last step
        LabelledAnswer(-1.0, "8", True),
        LabelledAnswer(5.0, "another", True),
        LabelledAnswer(5.0, None, True),
    ]
    first, last = points(steps, ["7", "8"], confidences, labelled)
    assert (first["version"], first["at"], first["n"], first["estimated"]) == ("7", 0.0, 100, 0.8)
    assert first["estimated_low"] == pytest.approx(0.8 - 1.96 * (0.01 / 99) ** 0.5, abs=1e-4)
    assert (first["labels"], first["accuracy"]) == (0, None)
    assert (last["version"], last["labels"], last["right"], last["accuracy"]) == ("8", 10, 9, 0.9)
    assert last["accuracy_low"] == pytest.approx(0.596, abs=1e-3)
    assert last["estimated"] is None
