"""The model card of a demonstration version: what it was trained on, and how accurate it is there.

It limits what people expect; a version without one claims nothing. The model server reads it from a version's folder
(predictor/model_card.py) and has it in the model's v2 metadata, where clients find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from common.question import Question

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of right answers on unseen questions of the card's subjects, with its 95% interval, all 0 to 1."""

    value: float
    low: float
    high: float
    questions: int


@dataclass(frozen=True, slots=True)
class ModelCard:
    """`title`: a noun phrase. `stems`: the question texts it was trained on, whatever their code and choices.

    `accuracy` is None where it was not measured on all of the subjects.
    """

    title: str
    subjects: tuple[str, ...]
    stems: tuple[str, ...]
    accuracy: Accuracy | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> ModelCard | None:
        """A card from its JSON form; None for anything else."""
        try:
            card = cls(data["title"], tuple(data["subjects"]), tuple(data["stems"]), _accuracy(data.get("accuracy")))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        texts = (card.title, *card.subjects, *card.stems)
        return card if data.get("schema") == SCHEMA and all(isinstance(text, str) for text in texts) else None

    def to_dict(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "schema": SCHEMA, "title": self.title, "subjects": list(self.subjects), "stems": list(self.stems)
        }  # fmt: skip
        if self.accuracy:
            names = ("value", "low", "high", "questions")
            data["accuracy"] = {name: getattr(self.accuracy, name) for name in names}
        return data

    def covers(self, question: Question) -> bool:
        """Whether the version was trained on such questions: by subject if the question has one, else by stem."""
        if question.subject:
            return question.subject in self.subjects
        return _plain(question.stem) in map(_plain, self.stems)

    def taught(self, questions: Iterable[Question]) -> ModelCard:
        """The card of a version that was trained further on `questions`: it covers more and is unmeasured."""
        subjects, stems = dict.fromkeys(self.subjects), dict.fromkeys(self.stems)
        for question in questions:
            if question.subject:
                subjects[question.subject] = None
            stems[_plain(question.stem)] = None
        return replace(self, subjects=tuple(subjects), stems=tuple(stems), accuracy=None)


def _accuracy(data: Mapping[str, Any] | None) -> Accuracy | None:
    if data is None:
        return None
    return Accuracy(float(data["value"]), float(data["low"]), float(data["high"]), int(data["questions"]))


def _plain(text: str) -> str:
    return " ".join(text.split())
