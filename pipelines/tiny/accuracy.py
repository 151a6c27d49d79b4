"""Accuracy of a tiny version on labelled questions, with Wilson intervals, by subject."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from pipelines.bank.labelled import LabelledQuestion
from pipelines.tiny.training_data import Encoder, collate
from pipelines.tiny.forward import hidden_states


@dataclass(frozen=True, slots=True)
class Score:
    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        n, p, z = self.asked, self.accuracy, 1.959964
        centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.accuracy:.1%} [{low:.1%}, {high:.1%}] of {self.asked}"


def answers(model: Any, tokenizer: Tokenizer, questions: Sequence[LabelledQuestion], batch: int = 64) -> list[int]:
    """The index that the model chooses for each question."""
    encoder = Encoder(tokenizer)
    examples = encoder.encode(questions)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
    letters = torch.tensor(encoder.letter_ids)
    chosen = [0] * len(examples)
    with torch.no_grad():
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            rows = collate([examples[i] for i in places])
            final, _ = hidden_states(model, rows.ids)
            logits = torch.nn.functional.linear(
                final[torch.arange(len(places)), rows.last], model.model.embed_tokens.weight
            )
            scores = logits[:, letters[: rows.valid.shape[1]]].masked_fill(~rows.valid, float("-inf"))
            for place, index in zip(places, scores.argmax(-1).tolist(), strict=True):
                chosen[place] = index
    return chosen


def measure(model: Any, tokenizer: Tokenizer, questions: Sequence[LabelledQuestion]) -> dict[str, Score]:
    """A score a subject, and 'all'."""
    tally: dict[str, list[int]] = {}
    for question, index in zip(questions, answers(model, tokenizer, questions), strict=True):
        for name in (question.subject, "all"):
            entry = tally.setdefault(name, [0, 0])
            entry[0] += index == question.answer
            entry[1] += 1
    return {name: Score(*entry) for name, entry in sorted(tally.items())}
