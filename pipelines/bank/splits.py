"""The split of a question: a hash of its content, so that the same problem is never in two splits."""

from __future__ import annotations

import hashlib
from typing import Literal

from common.question import Question
from pipelines.bank.labelled_question import LabelledQuestion

Split = Literal["train", "validation", "holdout"]
SPLITS: tuple[Split, ...] = ("train", "validation", "holdout")


def content_key(question: Question) -> str:
    """64 hexadecimal digits that depend on stem and code alone.

    Choices, their order, id and subject are left out on purpose: the same problem with other distractors is the same
    problem, and must not be trained on in one split and examined in another. Both are normalised (common.normalise);
    in the stem, case and runs of white space make no difference either.
    """
    question = question.normalised()
    stem = " ".join(question.stem.split()).casefold()
    code = question.code or ""
    return hashlib.sha256(f"{stem}\0{code}".encode()).hexdigest()


def split_of(question: Question | LabelledQuestion) -> Split:
    """train (80%), validation (10%) or holdout (10%), by a hash of the content: for ever, whatever the order."""
    if isinstance(question, LabelledQuestion):
        question = question.question
    bucket = int(content_key(question)[:8], 16) % 10
    return "train" if bucket < 8 else "validation" if bucket == 8 else "holdout"
