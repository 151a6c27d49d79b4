"""Upper tail probabilities, by scipy.special, and their correction.

scipy.special is imported at the first check, which alone needs it: it costs 0.15 s of a start. scipy.stats costs ten
times as much, so the correction of `scipy.stats.false_discovery_control` is written out here; the tests compare them.
"""

from __future__ import annotations

from collections.abc import Sequence


def kolmogorov(x: float) -> float:
    """P(K > x) of Kolmogorov's limiting distribution, for x = D * sqrt(m n / (m + n)) of two samples (Smirnov 1939).

    For two samples it is above the exact p-value (by 7% at 200 against 1,000 and p = .01, by 2% at 500), so it never
    finds a difference that the exact test does not.
    """
    from scipy.special import kolmogorov

    return float(kolmogorov(x))


def chi_square(x: float, degrees: int) -> float:
    """P(chi-square > x). ValueError below one degree of freedom."""
    from scipy.special import chdtrc

    if degrees < 1:
        raise ValueError(f"chi-square needs at least 1 degree of freedom, found {degrees}")
    return float(chdtrc(degrees, x))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: rejecting those <= q keeps the false discovery rate at q.

    Benjamini & Hochberg 1995; it also holds for positively dependent tests (Benjamini & Yekutieli 2001), which
    confidence, margin and entropy of the same answers are.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    adjusted = [0.0] * len(p_values)
    smallest = 1.0
    for position, i in enumerate(order):
        smallest = min(smallest, p_values[i] * len(p_values) / (len(p_values) - position))
        adjusted[i] = smallest
    return adjusted
