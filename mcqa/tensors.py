"""Questions as v2 tensors and answers from v2 tensors, for REST and gRPC alike."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from common.question import Answer, Question


def question_tensors(questions: Sequence[Question]) -> list[tuple[str, list[int], list[str]]]:
    """The v2 inputs as (name, shape, flat strings): question [N], choices [N, K] padded with empty strings, and code,
    id and subject [N] where any question has one.
    """
    n, width = len(questions), max(len(q.choices) for q in questions)
    padded = itertools.chain.from_iterable([*q.choices, *[""] * (width - len(q.choices))] for q in questions)
    inputs = [("question", [n], [q.stem for q in questions]), ("choices", [n, width], list(padded))]
    for name in ("code", "id", "subject"):
        texts = [getattr(q, name) or "" for q in questions]
        if any(texts):
            inputs.append((name, [n], texts))
    return inputs


def answers_from_tensors(
    questions: Sequence[Question], outputs: Mapping[str, Sequence[Any]], version: str, revision: str | None
) -> list[Answer]:
    """Answers from the v2 outputs' flat data; probabilities are [N, K], zero beyond a question's own choices."""
    width = len(outputs["probabilities"]) // len(questions)
    answers = []
    for i, question in enumerate(questions):
        row = outputs["probabilities"][i * width : i * width + len(question.choices)]
        answers.append(
            Answer(
                letter=outputs["letter"][i],
                index=int(outputs["index"][i]),
                choice=outputs["choice"][i],
                probabilities=tuple(float(p) for p in row),
                confidence=float(outputs["confidence"][i]),
                margin=float(outputs["margin"][i]),
                entropy=float(outputs["entropy"][i]),
                letter_mass=float(outputs["letter_mass"][i]),
                prompt_tokens=int(outputs["prompt_tokens"][i]),
                model_version=version,
                revision=revision,
                id=question.id,
            )
        )
    return answers
