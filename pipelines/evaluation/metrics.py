"""Statistics of answered multiple-choice questions. Pure functions of plain numbers, standard library only.

Everywhere `probabilities` has one row per question and one entry per choice (rows may differ in length), and
`answers` / `chosen` hold the index of the right and of the chosen choice. Probabilities are within 0..1.

Written by hand: scikit-learn has most of them, as one more heavy dependency of each pipeline step. Tests
compare with it.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

Z_95 = statistics.NormalDist().inv_cdf(0.975)

ECE_BINS = 15
ECE_MIN_ANSWERS = 300
"""Below this the binned estimate is dominated by its own upward bias (most bins hold a handful of answers)."""

PROBABILITY_FLOOR = 2.0**-52
"""A right choice given probability 0 costs 36 nats, not infinity: float64's epsilon, as in scikit-learn's log_loss."""


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


@dataclass(frozen=True, slots=True)
class Bin:
    """One confidence bin, (low, high]: how many answers, how many right, their mean confidence."""

    low: float
    high: float
    count: int
    correct: int
    confidence: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.count if self.count else math.nan

    @property
    def gap(self) -> float:
        """Confidence minus accuracy: above 0 the model is overconfident."""
        return self.confidence - self.accuracy


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


def accuracy(answers: Sequence[int], chosen: Sequence[int]) -> Proportion:
    """Share of questions whose chosen choice is the right one."""
    return wilson(sum(a == c for a, c in zip(answers, chosen, strict=True)), len(answers))


def accuracy_by(groups: Sequence[str], answers: Sequence[int], chosen: Sequence[int]) -> dict[str, Proportion]:
    """Accuracy within each group (a subject), sorted by name."""
    totals: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for group, a, c in zip(groups, answers, chosen, strict=True):
        totals[group] += 1
        right[group] += a == c
    return {group: wilson(right[group], totals[group]) for group in sorted(totals)}


def chance(probabilities: Sequence[Sequence[float]]) -> float:
    """Accuracy expected of guessing: the mean of 1/K over the questions."""
    return mean([1 / len(row) for row in probabilities])


def brier(probabilities: Sequence[Sequence[float]], answers: Sequence[int]) -> float:
    """Mean over questions of the squared error summed over choices (Brier 1950): 0 is perfect, 2 the worst.

    Guessing evenly among K choices scores 1 - 1/K.
    """
    return mean(
        [
            math.fsum((p - (k == a)) ** 2 for k, p in enumerate(row))
            for row, a in zip(probabilities, answers, strict=True)
        ]
    )


def nll(probabilities: Sequence[Sequence[float]], answers: Sequence[int]) -> float:
    """Mean negative log-likelihood of the right choice, in nats per question. Guessing among K scores ln K."""
    return mean([-math.log(max(row[a], PROBABILITY_FLOOR)) for row, a in zip(probabilities, answers, strict=True)])


def reliability(confidences: Sequence[float], correct: Sequence[bool], bins: int = ECE_BINS) -> tuple[Bin, ...]:
    """`bins` equal-width confidence bins over 0..1, closed above, including empty ones (Guo et al. 2017, section 2)."""
    edges = [b / bins for b in range(bins + 1)]
    members: list[list[int]] = [[] for _ in range(bins)]
    for i, confidence in enumerate(confidences):
        if not 0 <= confidence <= 1:
            raise ValueError(f"a confidence is within 0..1, found {confidence} at {i}")
        # ceil(c * bins) can be off by one at an edge in floating point; the edges decide.
        b = min(max(math.ceil(confidence * bins) - 1, 0), bins - 1)
        if b > 0 and confidence <= edges[b]:
            b -= 1
        elif confidence > edges[b + 1]:
            b += 1
        members[b].append(i)
    return tuple(
        Bin(
            edges[b],
            edges[b + 1],
            len(inside),
            sum(bool(correct[i]) for i in inside),
            mean([confidences[i] for i in inside]),
        )
        for b, inside in enumerate(members)
    )


def ece(bins: Iterable[Bin]) -> float:
    """Expected calibration error: |accuracy - confidence| of each bin, weighted by its answers (Guo et al. 2017).

    nan without answers. It is biased upwards when there are few: report it only from ECE_MIN_ANSWERS on.
    """
    filled = [b for b in bins if b.count]
    total = sum(b.count for b in filled)
    return math.fsum(b.count * abs(b.gap) for b in filled) / total if total else math.nan


def counts(indices: Iterable[int]) -> list[int]:
    """How often each index occurs, from 0 to the largest that occurs."""
    totals = Counter(indices)
    return [totals[k] for k in range(max(totals) + 1)] if totals else []


def recalls(answers: Sequence[int], chosen: Sequence[int]) -> list[float | None]:
    """Per letter, the share of questions with that right letter that were answered right; None where there are none."""
    totals = counts(answers)
    right = Counter(a for a, c in zip(answers, chosen, strict=True) if a == c)
    return [right[k] / total if total else None for k, total in enumerate(totals)]


def rstd(answers: Sequence[int], chosen: Sequence[int]) -> float:
    """Letter bias: population standard deviation of the per-letter recalls (Zheng et al. 2023, arXiv 2309.03882).

    A share (the paper prints percent). 0: every letter has the same recall; 0.433 with four letters: one letter is
    always chosen. Letters that are never right have no recall and do not count. nan when there is none.
    """
    known = [r for r in recalls(answers, chosen) if r is not None]
    return statistics.pstdev(known) if known else math.nan


def flips(choices: Iterable[Sequence[Hashable]]) -> Proportion:
    """Share of questions whose chosen choice (its text, not its letter) is not the same in every rotation.

    One sequence per question, with one entry per rotation of its choices.
    """
    changed = [len(set(texts)) > 1 for texts in choices]
    return wilson(sum(changed), len(changed))


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; nan of an empty sequence."""
    return math.fsum(values) / len(values) if values else math.nan
