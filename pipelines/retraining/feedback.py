"""From logged questions and feedback to labelled questions: duplicates collapse, contradictions are settled. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from common.question import Question, QuestionError, parse_question
from functions.collect.queries import Labelled
from pipelines.bank.jsonl import label
from pipelines.bank.labelled import LabelledQuestion, content_key


@dataclass(frozen=True, slots=True)
class Feedback:
    """Different questions with the answer that feedback gives them; what was done to the rows they come from.

    `rows` were read; `unusable` of them are no questions; `conflicting` questions had several answers.
    """

    questions: tuple[LabelledQuestion, ...]
    rows: int
    unusable: int
    conflicting: int


def gather(rows: Iterable[Labelled]) -> Feedback:
    """One labelled question for each problem with its choices, however often it was asked and in whatever order.

    Where feedback contradicts itself, the answer that most of it gives counts, of equally many the latest. The question
    keeps the form in which it was last asked with that answer. Ids are made of the content.
    """
    groups: dict[str, list[tuple[float, LabelledQuestion]]] = {}
    read = unusable = 0
    for row in rows:
        read += 1
        try:
            found = label({**row.question, "answer": row.answer})
        except QuestionError:
            unusable += 1
            continue
        groups.setdefault(problem_key(found.question), []).append((row.at, found))
    conflicting = sum(len({one.normalised_right for _, one in group}) > 1 for group in groups.values())
    questions = tuple(_settled(key, group) for key, group in sorted(groups.items()))
    return Feedback(questions, read, unusable, conflicting)


def questions_of(rows: Iterable[dict[str, Any]]) -> list[Question]:
    """The logged questions that can be asked again, in their order."""
    found = []
    for row in rows:
        try:
            found.append(parse_question(row))
        except QuestionError:
            continue
    return found


def held_out(question: Question, share: float) -> bool:
    """Whether a question is kept from training, by a hash of stem and code: the same in every retraining.

    Not the bank's own split: live traffic may consist of one split of the bank alone.
    """
    digest = hashlib.sha256(f"feedback\0{content_key(question)}".encode()).hexdigest()
    return int(digest[:8], 16) < share * 2**32


def problem_key(question: Question) -> str:
    """64 hex digits of stem, code and the set of choices: what one right answer belongs to."""
    choices = "\0".join(sorted(question.normalised().choices))
    return hashlib.sha256(f"{content_key(question)}\0{choices}".encode()).hexdigest()


def data_digest(parts: Iterable[Sequence[LabelledQuestion]]) -> str:
    """64 hex digits of what is learned from and examined on: SHA-256 over the sorted contents of each part."""
    whole = hashlib.sha256()
    for questions in parts:
        for line in sorted(f"{problem_key(one.question)} {one.normalised_right}" for one in questions):
            whole.update(f"{line}\n".encode())
        whole.update(b"\0")
    return whole.hexdigest()


def _settled(key: str, group: list[tuple[float, LabelledQuestion]]) -> LabelledQuestion:
    votes = Counter(one.normalised_right for _, one in group)
    latest = {one.normalised_right: at for at, one in sorted(group, key=lambda item: item[0])}
    right = max(votes, key=lambda text: (votes[text], latest[text], text))
    _, kept = max(
        ((at, one) for at, one in group if one.normalised_right == right), key=lambda item: (item[0], str(item[1]))
    )
    q = kept.question
    return LabelledQuestion(Question(q.stem, q.choices, q.code, f"fb-{key[:16]}", q.subject), kept.answer)
