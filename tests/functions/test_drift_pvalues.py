from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from functions.drift.pvalues import benjamini_hochberg, chi_square, kolmogorov


@settings(deadline=None)
@given(st.floats(0.01, 6))
def test_kolmogorov_is_scipys(x: float) -> None:
    assert kolmogorov(x) == pytest.approx(float(stats.kstwobign.sf(x)), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("x", [-1.0, 0.0, 1e-300, 0.02])
def test_kolmogorov_near_nothing_is_1(x: float) -> None:
    assert kolmogorov(x) == pytest.approx(1.0)


@settings(deadline=None)
@given(st.floats(0, 200), st.integers(1, 20))
def test_chi_square_is_scipys(x: float, degrees: int) -> None:
    assert chi_square(x, degrees) == pytest.approx(float(stats.chi2.sf(x, degrees)), rel=1e-9, abs=1e-300)


def test_chi_square_needs_a_degree() -> None:
    with pytest.raises(ValueError, match="at least 1 degree"):
        chi_square(1.0, 0)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_benjamini_hochberg_is_scipys(p_values: list[float]) -> None:
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values, method="bh").tolist())


@pytest.mark.parametrize(("m", "n"), [(200, 1000), (500, 1000), (1000, 20_000)])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2])
def test_the_limit_lies_just_above_the_exact_p_value(m: int, n: int, shift: float) -> None:
    rng = np.random.default_rng(m + n)
    a, b = rng.normal(shift, 1, m), rng.normal(size=n)
    exact = stats.ks_2samp(a, b, method="exact" if n < 10_000 else "asymp")
    ours = kolmogorov(float(exact.statistic) * (m * n / (m + n)) ** 0.5)
    assert exact.pvalue * 0.999 <= ours <= exact.pvalue * 1.2 + 1e-6
