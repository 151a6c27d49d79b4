"""Accuracy of a tiny version on labelled questions, with Wilson intervals, by subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer

from common.proportions import Proportion
from pipelines.bank.labelled_question import LabelledQuestion
from pipelines.evaluation.metrics import accuracy, accuracy_by
from pipelines.tiny.forward import hidden_states
from pipelines.tiny.training_data import Encoder, collate

ALL = "all"
"""The key of the accuracy over every subject."""


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


def measure_accuracy(model: Any, tokenizer: Tokenizer, questions: Sequence[LabelledQuestion]) -> dict[str, Proportion]:
    """The accuracy by subject, sorted by name, and of all questions under ALL."""
    right, chosen = [question.answer for question in questions], answers(model, tokenizer, questions)
    by_subject = accuracy_by([question.subject for question in questions], right, chosen)
    return dict(sorted({**by_subject, ALL: accuracy(right, chosen)}.items()))
