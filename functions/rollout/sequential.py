"""Bounds that hold however often they are computed: a canary is judged every minute, and a fixed-sample test would
sooner or later fail every version (24 tests at 5% each find a difference in 60% of equal pairs).

Two always-valid constructions instead of group-sequential boundaries, because nobody can plan the analyses: traffic,
feedback and the operator's holds decide when evidence arrives, and a step that was inconclusive must be able to wait
for more without spending anything.

- rare events (failures, slow answers): the beta-binomial mixture (Robbins 1970, Ann. Math. Stat. 41:1397), exact for
  any sample;
- differences of means (accuracy, calibration, letters): the one-sided normal mixture (Robbins 1970; Howard, Ramdas,
  McAuliffe & Sekhon 2021, Ann. Stat. 49:1055, equation 14), asymptotic in the variance like any z-test (Waudby-Smith
  et al. 2024, Ann. Stat. 52:2613). It is the mixture SPRT of Johari et al. 2017 (KDD) with its boundary solved for the
  difference.

confseq (PyPI), which has such bounds, has had no release since January 2023 and no wheels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

RARE = (0.5, 10.0)
"""The mixture's beta weights, most on rates below 5%: any choice is valid, this one is narrow for rare events."""


def rate_bounds(events: int, n: int, alpha: float) -> tuple[float, float]:
    """(low, high) for the rate behind `events` of `n`. Each end alone errs at any time with probability <= alpha."""
    if not 0 <= events <= n:
        raise ValueError(f"a rate needs 0 <= events <= n, found {events} of {n}")
    if n == 0:
        return 0.0, 1.0
    a, b = RARE
    mixture = _log_beta(a + events, b + n - events) - _log_beta(a, b)
    level = mixture + math.log(alpha)

    def inside(p: float) -> bool:
        likelihood = (events * math.log(p) if events else 0.0) + ((n - events) * math.log1p(-p) if n > events else 0.0)
        return likelihood > level

    peak = events / n
    low = 0.0 if events == 0 else _edge(0.0, peak, inside)
    high = 1.0 if events == n else _edge(1.0, peak, inside)
    return low, high


def _edge(outside: float, within: float, inside: Callable[[float], bool]) -> float:
    """Where `inside` changes between the two, to 1e-9, on the outer side: the bound never errs inwards."""
    while abs(outside - within) > 1e-9:
        middle = (outside + within) / 2
        if inside(middle):
            within = middle
        else:
            outside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def radius(information: float, target: float, alpha: float) -> float:
    """How far the true difference may lie from its estimate, on one side, at any time, with probability 1 - alpha.

    `information` is 1 / (the estimate's variance); the bound is tightest near `target`.
    """
    if information <= 0:
        return math.inf
    rho = target / (2 * math.log(1 / (2 * alpha)) + math.log(1 + 2 * math.log(1 / (2 * alpha))))
    grown = information + rho
    return math.sqrt(2 * grown * math.log(math.sqrt(grown / rho) / (2 * alpha) + 1)) / information
