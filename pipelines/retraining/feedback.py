"""From logged questions and feedback to labelled questions: duplicates merged, contradictions settled. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from common.question import Question, QuestionError, parse_question
from functions.collect.queries import Labelled
from pipelines.bank.jsonl import label
from pipelines.bank.labelled_question import LabelledQuestion
from pipelines.bank.splits import content_key


@dataclass(frozen=True, slots=True)
class Feedback:
    """Different questions with the answer that the feedback gives them, and what became of the rows.

    `rows` were read, `unusable` of them are not valid questions; `conflicting` questions were given several answers.
    """

    questions: tuple[LabelledQuestion, ...]
    rows: int
    unusable: int
    conflicting: int


def aggregate_feedback(rows: Iterable[Labelled]) -> Feedback:
    """One labelled question per problem and set of choices, however often it was asked and in whatever order.

    Where feedback contradicts itself, the majority counts, and in a tie the latest answer. The question keeps the form
    in which it was last asked with that answer. Ids are made of the content.
    """
    groups: dict[str, list[tuple[float, LabelledQuestion]]] = {}
    read = unusable = 0
    for row in rows:
        read += 1
        try:
            labelled = label({**row.question, "answer": row.answer})
        except QuestionError:
            unusable += 1
            continue
        groups.setdefault(problem_key(labelled.question), []).append((row.at, labelled))
    conflicting = sum(len({item.normalised_right for _, item in group}) > 1 for group in groups.values())
    questions = tuple(_settle(key, group) for key, group in sorted(groups.items()))
    return Feedback(questions, read, unusable, conflicting)


def parse_questions(rows: Iterable[dict[str, Any]]) -> list[Question]:
    """The logged questions that are valid, in their order."""
    questions = []
    for row in rows:
        try:
            questions.append(parse_question(row))
        except QuestionError:
            continue
    return questions


def held_out(question: Question, share: float) -> bool:
    """Whether a question is held out of training, by a hash of stem and code: the same in every retraining.

    Not by the bank's own split: live traffic may consist of one split of the bank only.
    """
    digest = hashlib.sha256(f"feedback\0{content_key(question)}".encode()).hexdigest()
    return int(digest[:8], 16) < share * 2**32


def problem_key(question: Question) -> str:
    """64 hex digits of stem, code and the set of choices: what determines the right answer."""
    choices = "\0".join(sorted(question.normalised().choices))
    return hashlib.sha256(f"{content_key(question)}\0{choices}".encode()).hexdigest()


def data_digest(parts: Iterable[Sequence[LabelledQuestion]]) -> str:
    """64 hex digits of the training and holdout data: SHA-256 over the sorted contents of each part."""
    whole = hashlib.sha256()
    for questions in parts:
        for line in sorted(f"{problem_key(item.question)} {item.normalised_right}" for item in questions):
            whole.update(f"{line}\n".encode())
        whole.update(b"\0")
    return whole.hexdigest()


def _settle(key: str, group: list[tuple[float, LabelledQuestion]]) -> LabelledQuestion:
    votes = Counter(labelled.normalised_right for _, labelled in group)
    latest = {labelled.normalised_right: at for at, labelled in sorted(group, key=lambda entry: entry[0])}
    right = max(votes, key=lambda text: (votes[text], latest[text], text))
    _, kept = max(
        ((at, labelled) for at, labelled in group if labelled.normalised_right == right),
        key=lambda entry: (entry[0], str(entry[1])),
    )
    q = kept.question
    return LabelledQuestion(Question(q.stem, q.choices, q.code, f"fb-{key[:16]}", q.subject), kept.answer)
