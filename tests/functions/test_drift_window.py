from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from functions.drift.reference import Reference, summarise
from functions.drift.window import Window


def reference(values: np.ndarray) -> Reference:
    return summarise({"x": values.tolist()}, [])


def window(reference: Reference, values: np.ndarray, chunks: int = 1) -> Window:
    out = Window(reference)
    for chunk in np.array_split(values, chunks):
        out.add({"x": chunk}, ["A"] * len(chunk))
    return out


CASES = {
    "normal": (lambda r, n: r.normal(size=n), lambda r, n: r.normal(0.3, 1.2, n)),
    "far apart": (lambda r, n: r.normal(size=n), lambda r, n: r.normal(50, 1, n)),
    "whole numbers": (lambda r, n: r.poisson(100, n), lambda r, n: r.poisson(103, n)),
    "few values": (lambda r, n: r.integers(0, 3, n), lambda r, n: r.integers(0, 4, n)),
    "near 1": (lambda r, n: 1 - r.exponential(1e-6, n), lambda r, n: 1 - r.exponential(2e-6, n)),
    "constant": (lambda r, n: np.ones(n), lambda r, n: np.ones(n)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [(7, 5), (300, 1000), (2000, 150)])
def test_both_distances_are_scipys(name: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    a, b = CASES[name][0](rng, size[0]), CASES[name][1](rng, size[1])
    ours = window(reference(a), b, chunks=3).summary().features["x"]
    assert ours.n == size[1]
    assert ours.ks == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic, abs=1e-12)
    exact = stats.wasserstein_distance(a, b)
    assert ours.wasserstein <= exact * (1 + 1e-9) + 1e-12
    if min(size) > 100:  # crossings inside a gap cancel: that matters where the reference has a handful of answers
        assert ours.wasserstein == pytest.approx(exact, rel=0.02, abs=1e-12)
    assert ours.mean == pytest.approx(float(np.mean(b)))


def test_a_thinned_reference_changes_the_statistic_by_less_than_its_resolution() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=20_000), rng.normal(0.05, 1, 5000)
    ours = window(reference(a), b).summary().features["x"]
    assert ours.ks == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic, abs=0.0004)


def test_order_and_chunks_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=500), rng.normal(size=400)
    whole = window(reference(a), b).summary().features["x"]
    pieces = window(reference(a), rng.permutation(b), chunks=37).summary().features["x"]
    assert pieces.ks == whole.ks
    assert pieces.wasserstein == pytest.approx(whole.wasserstein)


def test_what_is_no_number_is_counted_and_left_out() -> None:
    ref = reference(np.arange(10.0))
    summary = window(ref, np.array([1.0, np.nan, 2.0, np.inf])).summary()
    assert (summary.n, summary.features["x"].n, summary.invalid) == (4, 2, 2)
    assert summary.letters == {"A": 4}
    assert Window(ref).summary().features["x"].ks == 0


def test_a_million_answers_take_the_memory_of_one_chunk() -> None:
    rng = np.random.default_rng(6)
    ref = reference(rng.normal(size=5000))
    chunk = rng.normal(size=50_000)
    out = window(ref, chunk)
    tracemalloc.start()
    for _ in range(20):
        out.add({"x": chunk}, ())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert out.summary().features["x"].n == 1_050_000
    assert peak < 4_000_000
