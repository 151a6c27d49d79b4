"""One record per answered question, for paired comparisons: the quality gate's McNemar test joins two files on `id`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from common.question import Answer, Question


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One answered question. `answer` (the right one) and `chosen` are indices; one probability per choice."""

    id: str
    subject: str
    answer: int
    chosen: int
    probabilities: tuple[float, ...]
    letter_mass: float
    prompt_tokens: int

    @property
    def correct(self) -> bool:
        return self.chosen == self.answer

    @property
    def confidence(self) -> float:
        return self.probabilities[self.chosen]


@dataclass(frozen=True, slots=True)
class SkippedQuestion:
    """A question that the model could not be asked (too long, for example), and why."""

    id: str
    reason: str


def question_id(question: Question) -> str:
    """The question's own id, or 16 hex digits of the SHA-256 of its normalised content."""
    if question.id is not None:
        return question.id
    question = question.normalised()
    content = json.dumps([question.stem, question.code, question.choices], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def answer_record(question: Question, right: int, answer: Answer) -> AnswerRecord:
    return AnswerRecord(
        question_id(question),
        question.subject or "",
        right,
        answer.index,
        answer.probabilities,
        answer.letter_mass,
        answer.prompt_tokens,
    )


def write_records(records: Iterable[AnswerRecord], path: Path) -> None:
    """One JSON object per line, with the fields of AnswerRecord."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")


def read_records(path: Path) -> list[AnswerRecord]:
    """The records of a JSONL file; ValueError names the line that is not one."""
    records = []
    # Not splitlines(): it also breaks at U+2028 and its like, which JSON allows inside an id.
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        try:
            data = json.loads(line)
            records.append(AnswerRecord(**{**data, "probabilities": tuple(data["probabilities"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number} is not an evaluation record: {error}") from None
    return records
