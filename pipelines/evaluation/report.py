"""The report of an evaluation: every figure computed from the per-question records, with a stable JSON form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from common.proportions import Proportion
from common.question import LETTERS
from pipelines.evaluation import metrics
from pipelines.evaluation.answer_records import AnswerRecord, SkippedQuestion
from pipelines.evaluation.metrics import Bin

REPORT_VERSION = 1


class EvaluationError(ValueError):
    """There is nothing to report, or the report would mislead."""


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """Which model version answered, and on what. A remote server reports only its version and revision."""

    version: str
    source: str
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    parameters: int | None = None


@dataclass(frozen=True, slots=True)
class QuestionSource:
    """Where the questions came from: enough to ask the same ones again."""

    bank: str
    split: str
    seed: int
    subjects: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True)
class Report:
    """An evaluation. `seconds` is the time spent answering `records` (loading and the rotation study excluded).

    Never empty: at least one question was answered.
    """

    model: EvaluatedModel
    questions: QuestionSource
    debias: str
    records: tuple[AnswerRecord, ...]
    seconds: float
    started: str
    skipped: tuple[SkippedQuestion, ...] = ()
    rotations: Proportion | None = None
    """Sampled questions whose chosen text changes under rotation of the choices; None when not studied."""

    def __post_init__(self) -> None:
        if not self.records:
            reason = f"; the first of {len(self.skipped)} skipped: {self.skipped[0].reason}" if self.skipped else ""
            raise EvaluationError(f"no question was answered{reason}")

    @cached_property
    def _answers(self) -> list[int]:
        return [r.answer for r in self.records]

    @cached_property
    def _chosen(self) -> list[int]:
        return [r.chosen for r in self.records]

    @cached_property
    def _probabilities(self) -> list[tuple[float, ...]]:
        return [r.probabilities for r in self.records]

    @cached_property
    def accuracy(self) -> Proportion:
        return metrics.accuracy(self._answers, self._chosen)

    @cached_property
    def subjects(self) -> dict[str, Proportion]:
        """Accuracy by subject, sorted by name; questions without one under ''."""
        return metrics.accuracy_by([r.subject for r in self.records], self._answers, self._chosen)

    @cached_property
    def chance(self) -> float:
        return metrics.chance(self._probabilities)

    @cached_property
    def brier(self) -> float:
        return metrics.brier(self._probabilities, self._answers)

    @cached_property
    def nll(self) -> float:
        """Nats per question."""
        return metrics.nll(self._probabilities, self._answers)

    @cached_property
    def bins(self) -> tuple[Bin, ...]:
        return metrics.reliability([r.confidence for r in self.records], [r.correct for r in self.records])

    @property
    def ece_reason(self) -> str | None:
        """Why there is no ECE; None when there is one."""
        n = len(self.records)
        return None if n >= metrics.ECE_MIN_ANSWERS else f"needs {metrics.ECE_MIN_ANSWERS} answers, has {n}"

    @property
    def ece(self) -> float | None:
        """None, with `ece_reason`, below metrics.ECE_MIN_ANSWERS."""
        return None if self.ece_reason else metrics.ece(self.bins)

    @cached_property
    def rstd(self) -> float:
        return metrics.rstd(self._answers, self._chosen)

    @cached_property
    def letters(self) -> dict[str, dict[str, float | int | None]]:
        """By letter: how often it was `right`, how often `chosen`, and its `recall` (None where never right)."""
        width = max(len(row) for row in self._probabilities)
        right, chosen, recalls = (
            _padded(values, width, empty)
            for values, empty in (
                (metrics.counts(self._answers), 0),
                (metrics.counts(self._chosen), 0),
                (metrics.recalls(self._answers, self._chosen), None),
            )
        )
        return {LETTERS[k]: {"right": right[k], "chosen": chosen[k], "recall": recalls[k]} for k in range(width)}

    @cached_property
    def letter_mass(self) -> float:
        return metrics.mean([r.letter_mass for r in self.records])

    @cached_property
    def tokens(self) -> int:
        """Prompt tokens of all questions, each counted once whatever the passes debiasing needs."""
        return sum(r.prompt_tokens for r in self.records)

    @property
    def questions_per_second(self) -> float:
        return len(self.records) / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `version` changes when a field changes its meaning or is removed."""
        return {
            "version": REPORT_VERSION,
            "started": self.started,
            "model": {k: v for k, v in asdict(self.model).items() if v is not None},
            "questions": {
                **asdict(self.questions),
                "subjects": list(self.questions.subjects),
                "answered": len(self.records),
                "skipped": [asdict(s) for s in self.skipped],
            },
            "debias": self.debias,
            "accuracy": proportion_dict(self.accuracy),
            "chance": self.chance,
            "subjects": {name: proportion_dict(accuracy) for name, accuracy in self.subjects.items()},
            "brier": self.brier,
            "nll": self.nll,
            "ece": {
                "value": self.ece,
                "reason": self.ece_reason,
                "bins": [
                    {
                        **asdict(b),
                        "confidence": b.confidence if b.count else None,
                        "accuracy": b.accuracy if b.count else None,
                    }
                    for b in self.bins
                ],
            },
            "letters": {"rstd": self.rstd, "by_letter": self.letters},
            "rotations": None
            if self.rotations is None
            else {"flip_rate": self.rotations.value, **proportion_dict(self.rotations, "flipped")},
            "letter_mass": self.letter_mass,
            "speed": {
                "seconds": self.seconds,
                "tokens": self.tokens,
                "questions_per_second": self.questions_per_second,
                "tokens_per_second": self.tokens_per_second,
            },
        }


def proportion_dict(proportion: Proportion, count: str = "correct") -> dict[str, float | int]:
    """value, low and high (95% Wilson), `count` and total."""
    return {
        "value": proportion.value,
        "low": proportion.low,
        "high": proportion.high,
        count: proportion.count,
        "total": proportion.total,
    }


def _padded(values: Sequence[Any], width: int, empty: Any) -> list[Any]:
    return [*values, *[empty] * (width - len(values))]
