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

from common.proportions import Proportion, wilson

ECE_BINS = 15
ECE_MIN_ANSWERS = 300
"""Below this the binned estimate is dominated by its own upward bias (most bins hold a handful of answers)."""

PROBABILITY_FLOOR = 2.0**-52
"""A right choice given probability 0 costs 36 nats, not infinity: float64's epsilon, as in scikit-learn's log_loss."""


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
