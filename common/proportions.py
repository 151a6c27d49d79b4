"""Shares of answered questions and differences of shares, with their intervals. Pure, standard library only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

Z_95 = statistics.NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Proportion:
    """`count` of `total` with its 95% Wilson interval."""

    count: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """`count` / `total`; nan when `total` is 0."""
        return self.count / self.total if self.total else math.nan

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] of {self.total}"


def wilson(count: int, total: int, z: float = Z_95) -> Proportion:
    """The proportion with its score interval (Wilson 1927, JASA 22:209, without continuity correction).

    Unlike the normal approximation it stays within 0..1 and keeps its coverage near 0, near 1 and for few questions.
    """
    if not 0 <= count <= total:
        raise ValueError(f"a proportion needs 0 <= count <= total, found {count} of {total}")
    if total == 0:
        return Proportion(0, 0, 0.0, 1.0)
    p = count / total
    shrink = 1 + z * z / total
    centre = (p + z * z / (2 * total)) / shrink
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / shrink
    # The closed form is exactly 0 and 1 at the ends; floating point is not.
    low = 0.0 if count == 0 else max(0.0, centre - half)
    high = 1.0 if count == total else min(1.0, centre + half)
    return Proportion(count, total, low, high)


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two proportions (0.05 is five points) with its 95% interval."""

    value: float
    low: float
    high: float


def difference(after: Proportion, before: Proportion) -> Difference:
    """`after` minus `before` of two independent samples, neither empty.

    The interval is Newcombe's (1998, Statistics in Medicine 17:873, method 10), made of the two Wilson intervals: it
    keeps its coverage for few answers and for proportions near 0 and 1. ValueError when a sample is empty.
    """
    if not (after.total and before.total):
        raise ValueError("a difference needs two samples, and one of these is empty")
    value = after.value - before.value
    down = math.hypot(after.value - after.low, before.high - before.value)
    up = math.hypot(after.high - after.value, before.value - before.low)
    return Difference(value, value - down, value + up)


def paired_interval(gained: int, lost: int, n: int, alpha: float) -> tuple[float, float]:
    """Score interval of the difference of two paired shares (Tango 1998, Statistics in Medicine 17:891).

    Each end errs with probability `alpha`. Unlike Wald's it keeps its coverage for few discordant questions, and with
    none at all it still has a width.
    """
    if n < 1 or gained < 0 or lost < 0 or gained + lost > n:
        raise ValueError(f"gained + lost must be within n >= 1, found {gained} and {lost} of {n}")
    z = statistics.NormalDist().inv_cdf(1 - alpha)

    def score(d: float) -> float:
        linear = (2 * n - gained + lost) * d - gained - lost
        q = (math.sqrt(max(linear * linear + 8 * n * lost * d * (1 - d), 0.0)) - linear) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        return (gained - lost - n * d) / math.sqrt(max(variance, 1e-300))

    estimate = (gained - lost) / n
    return _crossing(score, -1.0, estimate, z), _crossing(score, estimate, 1.0, -z)


def _crossing(score: Callable[[float], float], left: float, right: float, level: float) -> float:
    """Where the decreasing `score` crosses `level`."""
    for _ in range(60):
        middle = (left + right) / 2
        if score(middle) > level:
            left = middle
        else:
            right = middle
    return (left + right) / 2
