"""A question with its right answer, and its JSON form: what every bank consists of."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.question import LETTERS, Question


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """A question and the index of its one right choice."""

    question: Question
    answer: int

    def __post_init__(self) -> None:
        if not 0 <= self.answer < len(self.question.choices):
            raise ValueError(f"answer {self.answer} is not an index of {len(self.question.choices)} choices")

    @property
    def right(self) -> str:
        return self.question.choices[self.answer]

    @property
    def normalised_right(self) -> str:
        """The right choice in the form in which choices are compared, whatever white space it was sent with."""
        return self.question.normalised().choices[self.answer]

    @property
    def letter(self) -> str:
        return LETTERS[self.answer]

    @property
    def subject(self) -> str:
        return self.question.subject or "unknown"

    def shuffled(self, rng: random.Random) -> LabelledQuestion:
        """The same question with its choices in a uniformly random order."""
        order = list(range(len(self.question.choices)))
        rng.shuffle(order)
        q = self.question
        choices = tuple(q.choices[i] for i in order)
        return LabelledQuestion(Question(q.stem, choices, q.code, q.id, q.subject), order.index(self.answer))

    def to_dict(self) -> dict[str, Any]:
        """One line of a JSONL bank; `parse_question` accepts it as it is."""
        q = self.question
        out: dict[str, Any] = {"question": q.stem, "choices": list(q.choices), "answer": self.answer}
        for name, value in (("id", q.id), ("code", q.code), ("subject", q.subject)):
            if value is not None:
                out[name] = value
        return out


def shuffled_epochs(questions: Sequence[LabelledQuestion], rng: random.Random) -> Iterator[LabelledQuestion]:
    """Without end: every question once per epoch, in a new order, its choices shuffled so that no letter is learned."""
    while True:
        for question in rng.sample(list(questions), len(questions)):
            yield question.shuffled(rng)
