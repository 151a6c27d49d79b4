from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, recall_score

from pipelines.evaluation import metrics


@pytest.mark.parametrize(
    ("rows", "answers", "brier", "nll"),
    [
        ([[1.0, 0.0]], [0], 0.0, 0.0),
        ([[0.0, 1.0]], [0], 2.0, 52 * math.log(2)),
        ([[0.25] * 4], [2], 0.75, math.log(4)),
        ([[0.5, 0.3, 0.2]], [0], 0.38, math.log(2)),  # .25 + .09 + .04
        ([[0.5, 0.5], [0.25] * 4], [1, 0], (0.5 + 0.75) / 2, (math.log(2) + math.log(4)) / 2),  # mixed K
    ],
)
def test_brier_and_nll_table(rows: list[list[float]], answers: list[int], brier: float, nll: float) -> None:
    assert metrics.brier(rows, answers) == pytest.approx(brier)
    assert metrics.nll(rows, answers) == pytest.approx(nll)


def _answered(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(k), size=n)
    answers = np.concatenate([np.arange(k), rng.integers(0, k, size=n - k)])  # every letter occurs
    return probabilities, answers, probabilities.argmax(axis=1)


@pytest.mark.parametrize("k", [3, 4, 10])
def test_scores_are_sklearns(k: int) -> None:
    p, y, chosen = _answered(7, 500, k)
    labels = list(range(k))
    assert metrics.nll(p.tolist(), y.tolist()) == pytest.approx(log_loss(y, p, labels=labels))
    theirs = brier_score_loss(y, p, labels=labels, scale_by_half=False)
    assert metrics.brier(p.tolist(), y.tolist()) == pytest.approx(theirs)
    per_letter = recall_score(y, chosen, labels=labels, average=None)
    assert metrics.recalls(y.tolist(), chosen.tolist()) == pytest.approx(per_letter.tolist())
    assert metrics.rstd(y.tolist(), chosen.tolist()) == pytest.approx(float(np.std(per_letter)))
    assert metrics.accuracy(y.tolist(), chosen.tolist()).value == pytest.approx(float((y == chosen).mean()))


def test_ece_by_hand() -> None:
    # (0.6, 0.6667]: 0.65 right, 0.65 wrong → |0.5 - 0.65| over 2; (0.9333, 1]: 0.95, 1.0 right → |1 - 0.975| over 2
    bins = metrics.reliability([0.65, 0.65, 0.95, 1.0], [True, False, True, True])
    assert len(bins) == 15
    assert [(b.count, b.correct) for b in bins if b.count] == [(2, 1), (2, 2)]
    assert metrics.ece(bins) == pytest.approx((2 * 0.15 + 2 * 0.025) / 4)
    assert math.isnan(metrics.ece(metrics.reliability([], [])))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200), st.integers(1, 20))
def test_reliability_is_numpys_binning(answered: list[tuple[float, bool]], n_bins: int) -> None:
    confidences = [c for c, _ in answered]
    correct = [r for _, r in answered]
    bins = metrics.reliability(confidences, correct, n_bins)
    edges = np.array([b / n_bins for b in range(n_bins + 1)])
    place = np.clip(np.digitize(confidences, edges, right=True) - 1, 0, n_bins - 1)
    assert [b.count for b in bins] == np.bincount(place, minlength=n_bins).tolist()
    by_hand = sum(
        abs(np.mean(np.array(correct)[place == b]) - np.mean(np.array(confidences)[place == b])) * (place == b).sum()
        for b in set(place.tolist())
    ) / len(answered)
    assert metrics.ece(bins) == pytest.approx(by_hand)


@pytest.mark.parametrize("confidence", [-0.01, 1.01, math.nan])
def test_reliability_refuses_what_is_no_confidence(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        metrics.reliability([confidence], [True])


@pytest.mark.parametrize(
    ("answers", "chosen", "recalls", "rstd"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], [1, 1, 1, 1], 0.0),
        ([0, 1, 2, 3], [0, 0, 0, 0], [1, 0, 0, 0], math.sqrt(3) / 4),
        ([0, 0, 1, 1], [0, 0, 1, 0], [1, 0.5], 0.25),
        ([0, 2], [0, 1], [1, None, 0], 0.5),  # B is never right: no recall, not counted
    ],
)
def test_letter_bias_table(answers: list[int], chosen: list[int], recalls: list[float | None], rstd: float) -> None:
    assert metrics.recalls(answers, chosen) == recalls
    assert metrics.rstd(answers, chosen) == pytest.approx(rstd)


def test_flips_look_at_the_text_not_the_letter() -> None:
    share = metrics.flips([("x", "x", "x", "x"), ("x", "x", "y", "x"), ("x", "y"), ("y", "y")])
    assert (share.count, share.total) == (2, 4)


def test_accuracy_by_subject() -> None:
    shares = metrics.accuracy_by(["b", "a", "b"], [0, 1, 2], [0, 0, 2])
    assert [(name, s.count, s.total) for name, s in shares.items()] == [("a", 0, 1), ("b", 2, 2)]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="zip"):
        metrics.accuracy([0, 1], [0])
    with pytest.raises(ValueError, match="zip"):
        metrics.brier([[0.5, 0.5]], [0, 1])


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=2, max_size=10), min_size=1, max_size=30), st.data())
def test_scores_stay_in_their_ranges(raw: list[list[float]], data: st.DataObject) -> None:
    rows = [[p / sum(row) for p in row] for row in raw]
    answers = [data.draw(st.integers(0, len(row) - 1)) for row in rows]
    assert 0 <= metrics.brier(rows, answers) <= 2
    assert metrics.nll(rows, answers) >= -1e-9
    assert 0.1 <= metrics.chance(rows) <= 0.5
    chosen = [row.index(max(row)) for row in rows]
    assert 0 <= metrics.rstd(answers, chosen) <= 0.5
    # Renaming letters the same way everywhere changes no score.
    turned = [row[::-1] for row in rows]
    mirrored = [len(row) - 1 - a for row, a in zip(rows, answers, strict=True)]
    assert metrics.brier(turned, mirrored) == pytest.approx(metrics.brier(rows, answers))
    assert metrics.nll(turned, mirrored) == pytest.approx(metrics.nll(rows, answers))
