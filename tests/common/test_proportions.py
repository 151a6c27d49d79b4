from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from common.proportions import difference, paired_interval, wilson


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.2775327998628892),  # z²/(n+z²)
        (10, 10, 0.7224672001371106, 1.0),
        (5, 10, 0.236593, 0.763407),
        (81, 263, 0.2552841, 0.3662091),  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    ],
)
def test_wilson_table(count: int, total: int, low: float, high: float) -> None:
    share = wilson(count, total)
    assert (share.low, share.high) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(pair: tuple[int, int]) -> None:
    count, total = pair
    ours = wilson(count, total)
    theirs = binomtest(count, total).proportion_ci(method="wilson")
    assert ours.low == pytest.approx(theirs.low, abs=1e-12)
    assert ours.high == pytest.approx(theirs.high, abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


@pytest.mark.parametrize(
    ("after", "before", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)],
)
def test_difference_is_newcombes(after: tuple[int, int], before: tuple[int, int], low: float, high: float) -> None:
    """The examples of Newcombe 1998, table II, method 10."""
    result = difference(wilson(*after), wilson(*before))
    assert result.value == after[0] / after[1] - before[0] / before[1]
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-5)


def test_a_difference_needs_two_samples() -> None:
    with pytest.raises(ValueError, match="two samples"):
        difference(wilson(1, 2), wilson(0, 0))


def test_a_proportion_as_text() -> None:
    textbook = wilson(60, 100)
    assert (round(textbook.low, 3), round(textbook.high, 3)) == (0.502, 0.691)
    assert str(textbook) == "60.0% [50.2%, 69.1%] of 100"


@pytest.mark.parametrize("pair", [(-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= count <= total"):
        wilson(*pair)


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 5, 60), (0, 8, 100), (5, 5, 50), (40, 10, 400), (1, 0, 44)])
def test_the_interval_ends_where_the_score_test_does(gained: int, lost: int, n: int) -> None:
    """At each end the score statistic, with the nuisance parameter found by maximising the likelihood, is z."""
    z = 1.6448536269514722
    for d, sign in zip(paired_interval(gained, lost, n, 0.05), (1, -1), strict=True):
        low, high = max(0.0, -d), (1 - d) / 2

        def cost(q: float, d: float = d) -> float:
            cells = ((gained, q + d), (lost, q), (n - gained - lost, 1 - 2 * q - d))
            return -math.fsum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

        best = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
        q = min((float(best.x), low), key=cost)
        score = (gained - lost - n * d) / math.sqrt(n * (2 * q + d - d * d))
        assert score == pytest.approx(sign * z, abs=1e-3)


@settings(deadline=None)
@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_the_interval_holds_its_estimate_and_mirrors(triple: tuple[int, int, int]) -> None:
    n, gained, lost = triple[0], triple[1], min(triple[2], triple[0] - triple[1])
    low, high = paired_interval(gained, lost, n, 0.05)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert paired_interval(lost, gained, n, 0.05) == pytest.approx((-high, -low))
    assert high > low


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(1)
    draws = rng.multinomial(80, [0.08, 0.16, 0.76], size=3000)
    ends = [paired_interval(int(b), int(c), 80, 0.05) for b, c, _ in draws]
    assert np.mean([low > -0.08 for low, _ in ends]) == pytest.approx(0.05, abs=0.02)
    assert np.mean([high < -0.08 for _, high in ends]) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("bad", [(1, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_impossible_counts_are_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="gained"):
        paired_interval(*bad, 0.05)
