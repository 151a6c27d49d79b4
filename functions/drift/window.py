"""Compares any number of answers with a reference, in memory that depends on the reference alone.

scipy.stats.ks_2samp and wasserstein_distance need both samples in memory. Both distances need only how many of the
window's answers are below, at and between the reference's values, and how far in: the Kolmogorov-Smirnov statistic is
exact, because between two reference values the reference's distribution function is flat and the window's only rises.
Chunks may come in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from functions.drift.reference import FeatureReference, Reference


@dataclass(frozen=True, slots=True)
class Distance:
    """How far one feature of the window is from its reference.

    `ks` is the largest difference of the distribution functions (0..1), `wasserstein` their area between, in the
    feature's own unit; `mean` is the window's.
    """

    n: int
    ks: float
    wasserstein: float
    mean: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A window against a reference: plain numbers, all that the decision needs. `invalid` values were left out."""

    n: int
    features: Mapping[str, Distance]
    letters: Mapping[str, int]
    invalid: int = 0


class Window:
    """Accumulates a window's answers against one reference: about 80 kB per feature, for any number of answers."""

    def __init__(self, reference: Reference) -> None:
        self._features = {name: _Counts(f) for name, f in reference.features.items()}
        self._letters: Counter[str] = Counter()
        self._n = 0

    def add(self, features: Mapping[str, ArrayLike], letters: Iterable[str]) -> None:
        """A chunk of answers: each reference feature's values, one per answer, and the chosen letters.

        Values that are not finite are counted and left out.
        """
        for name, counts in self._features.items():
            counts.add(np.asarray(features[name], dtype=np.float64))
        chosen = Counter(letters)
        self._letters.update(chosen)
        self._n += chosen.total()

    def summary(self) -> Summary:
        return Summary(
            self._n,
            {name: counts.distance() for name, counts in self._features.items()},
            dict(sorted(self._letters.items())),
            sum(counts.invalid for counts in self._features.values()),
        )


class _Counts:
    """One feature's counts between the m distinct values u[0] < ... < u[m-1] of its reference."""

    def __init__(self, reference: FeatureReference) -> None:
        self._u, repeats = np.unique(np.asarray(reference.values), return_counts=True)
        self._reference = np.cumsum(repeats) / len(reference.values)
        m = len(self._u)
        self._inside: NDArray[np.int64] = np.zeros(m + 1, dtype=np.int64)  # u[i-1] <= x < u[i]
        self._depth = np.zeros(m + 1)  # their distance from the lower edge; in the first, from the upper
        self._equal: NDArray[np.int64] = np.zeros(m, dtype=np.int64)
        self._sum = 0.0
        self.invalid = 0

    def add(self, x: NDArray[np.float64]) -> None:
        finite = np.isfinite(x)
        if not finite.all():
            self.invalid += int(len(x) - finite.sum())
            x = x[finite]
        places = np.searchsorted(self._u, x, side="right")
        edge = self._u[np.maximum(places - 1, 0)]
        size = len(self._inside)
        self._inside += np.bincount(places, minlength=size)
        self._depth += np.bincount(places, weights=np.abs(x - edge), minlength=size)
        self._equal += np.bincount(places[x == edge] - 1, minlength=size - 1)
        self._sum += float(x.sum())

    def distance(self) -> Distance:
        n = int(self._inside.sum())
        if n == 0:
            return Distance(0, 0.0, 0.0, 0.0)
        below = np.cumsum(self._inside)[:-1] / n  # the window's share < u[i]
        before = np.concatenate(([0.0], self._reference[:-1]))
        at = np.abs(below + self._equal / n - self._reference)
        ks = float(max(at.max(), np.abs(below - before).max()))
        width = np.diff(self._u)
        # The window's distribution function, integrated over each gap. Where it crosses the reference's inside a
        # gap the two sides cancel, which can only make the distance smaller, by at most a gap's own share.
        area = below[:-1] * width + (self._inside[1:-1] * width - self._depth[1:-1]) / n
        gaps = np.abs(self._reference[:-1] * width - area).sum()
        return Distance(n, ks, float(gaps + (self._depth[0] + self._depth[-1]) / n), self._sum / n)
