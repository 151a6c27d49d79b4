from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from functions.rollout.sequential import radius, rate_bounds


@pytest.mark.parametrize(("events", "n"), [(0, 1), (0, 300), (1, 300), (30, 1000), (500, 1000), (7, 7)])
def test_the_bounds_hold_the_estimate_and_are_wider_than_a_single_looks(events: int, n: int) -> None:
    low, high = rate_bounds(events, n, 0.05)
    assert 0 <= low <= events / n <= high <= 1
    # Clopper-Pearson, one-sided: what one look alone may claim.
    assert low <= (0 if events == 0 else _solve(lambda p: binom.sf(events - 1, n, p) - 0.05)) + 1e-6
    assert high >= (1 if events == n else _solve(lambda p: 0.05 - binom.cdf(events, n, p))) - 1e-6


def _solve(rising: object) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)  # type: ignore[operator]
    return low


def test_no_evidence_bounds_nothing() -> None:
    assert rate_bounds(0, 0, 0.05) == (0.0, 1.0)
    assert radius(0, 3000, 0.05) == math.inf


@pytest.mark.parametrize(("events", "n"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(events: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= events <= n"):
        rate_bounds(events, n, 0.05)


@pytest.mark.parametrize("rate", [0.002, 0.02, 0.3])
def test_rate_bounds_hold_at_every_look(rate: float) -> None:
    """Ville: over 3,000 looks at 400 streams, the share that ever excludes the truth stays within alpha."""
    rng = np.random.default_rng(1)
    alpha, misses = 0.05, 0
    for _ in range(400):
        events = np.cumsum(rng.random(3000) < rate)
        looks = range(9, 3000, 10)
        # The mixture's own statement, without solving for the ends: the truth is outside where its likelihood is low.
        misses += any(_outside(int(events[i]), i + 1, rate, alpha) for i in looks)
    assert misses / 400 <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 400)


def _outside(events: int, n: int, rate: float, alpha: float) -> bool:
    a, b = 0.5, 10.0
    log_beta = [math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y) for x, y in ((a + events, b + n - events), (a, b))]
    likelihood = events * math.log(rate) + (n - events) * math.log(1 - rate)
    return log_beta[0] - log_beta[1] - likelihood > -math.log(alpha)


@pytest.mark.parametrize(("events", "n"), [(0, 200), (3, 500), (40, 400), (200, 200)])
def test_the_ends_are_where_the_mixture_excludes(events: int, n: int) -> None:
    low, high = rate_bounds(events, n, 0.05)
    for rate in np.linspace(0.001, 0.999, 333):
        if abs(rate - low) > 1e-6 and abs(rate - high) > 1e-6:
            assert (low < rate < high) is not _outside(events, n, float(rate), 0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
@pytest.mark.parametrize("information", [30.0, 300.0, 3000.0, 30_000.0])
def test_the_radius_covers_the_exact_mixture_boundary(alpha: float, information: float) -> None:
    """The closed form lies above the boundary 2 sqrt(rho/(v+rho)) exp(s^2/(2(v+rho))) Phi(s/sqrt(v+rho)) = 1/alpha."""
    target = 3000.0
    score = radius(information, target, alpha) * information
    rho = target / (2 * math.log(1 / (2 * alpha)) + math.log(1 + 2 * math.log(1 / (2 * alpha))))
    grown = information + rho
    log_mixture = (
        math.log(2) + 0.5 * math.log(rho / grown) + score**2 / (2 * grown) + norm.logcdf(score / math.sqrt(grown))
    )
    assert log_mixture >= math.log(1 / alpha) - 1e-9
    assert log_mixture <= math.log(1 / alpha) + 0.7, "and not far above"


def test_the_radius_holds_at_every_look_and_is_tight_at_its_target() -> None:
    rng = np.random.default_rng(2)
    steps = np.full(2000, 10.0)
    walks = np.cumsum(rng.normal(0, np.sqrt(steps), size=(1000, 2000)), axis=1)
    v = np.cumsum(steps)
    bound = np.array([radius(x, 3000.0, 0.05) * x for x in v])
    ever = (walks > bound).any(axis=1).mean()
    assert ever <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert ever > 0.005, "a bound that never errs wastes evidence"
    assert radius(3000.0, 3000.0, 0.05) * math.sqrt(3000) < 2.8, "against 1.645 for a single look"
