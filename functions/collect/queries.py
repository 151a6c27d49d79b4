"""Labelled questions and counts from the payload log, and the label of an answer, which other queries build on.

The queries of drift windows and of canary evidence are in drift/queries.py and rollout/queries.py.

Every query streams, so its memory does not depend on how much was logged. Times are Unix seconds, from inclusive, to
exclusive. Test traffic is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, ScalarSelect, String, and_, case, func, literal, or_, select
from sqlalchemy.orm import aliased

from common.question import LETTERS
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest
from functions.database import stream


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question with its right answer's index, and what `version` chose (None: unknown). `at`: when it was asked."""

    answer_id: str
    question: dict[str, Any]
    answer: int
    version: str | None
    chosen: int | None
    at: float

    def to_dict(self) -> dict[str, Any]:
        """The bank's form of a labelled question."""
        return {**self.question, "id": self.answer_id, "answer": self.answer}


def labelled(connection: Connection, since: float = 0.0, until: float = float("inf")) -> Iterator[Labelled]:
    """The questions asked within [since, until) to which feedback gave an answer that is one of their choices."""
    same = and_(GivenAnswer.source == AskedQuestion.source, GivenAnswer.id == AskedQuestion.id)
    label = label_of(AskedQuestion.place)
    statement = (
        select(
            AskedQuestion.id,
            AskedQuestion.place,
            AskedQuestion.question,
            AskedQuestion.choices,
            label.label("label"),
            GivenAnswer.letter,
            LoggedRequest.version,
            LoggedRequest.requested_at,
        )
        .join(LoggedRequest, and_(LoggedRequest.source == AskedQuestion.source, LoggedRequest.id == AskedQuestion.id))
        .outerjoin(GivenAnswer, and_(same, GivenAnswer.place == AskedQuestion.place))
        .where(*real_questions(since, until), label.is_not(None))
        .order_by(LoggedRequest.requested_at, AskedQuestion.id, AskedQuestion.place)
    )
    for row in stream(connection, statement):
        chosen = None if row.letter is None else LETTERS.index(row.letter)
        answer_id = f"{row.id}/{row.place}"
        yield Labelled(answer_id, row.question, LETTERS.index(row.label), row.version, chosen, row.requested_at)


def recent(connection: Connection, since: float, until: float, most: int) -> Iterator[dict[str, Any]]:
    """Up to `most` questions asked within [since, until), the latest first."""
    same = and_(LoggedRequest.source == AskedQuestion.source, LoggedRequest.id == AskedQuestion.id)
    statement = (
        select(AskedQuestion.question)
        .join(LoggedRequest, same)
        .where(*real_questions(since, until))
        .order_by(LoggedRequest.requested_at.desc(), AskedQuestion.id, AskedQuestion.place)
        .limit(most)
    )
    for (question,) in connection.execute(statement):
        yield question


@dataclass(frozen=True, slots=True)
class VersionAnswer:
    """What a version answered to a question; `label` is the letter that feedback gives it, None without."""

    question: dict[str, Any]
    letter: str | None
    confidence: float | None
    label: str | None


def newest_answers(connection: Connection, version: str, most: int) -> Iterator[VersionAnswer]:
    """Up to `most` answers of a version to real questions, the newest first."""
    asked = and_(
        AskedQuestion.source == GivenAnswer.source,
        AskedQuestion.id == GivenAnswer.id,
        AskedQuestion.place == GivenAnswer.place,
    )
    requested = and_(LoggedRequest.source == GivenAnswer.source, LoggedRequest.id == GivenAnswer.id)
    label = label_of(GivenAnswer.place)
    statement = (
        select(
            AskedQuestion.question,
            GivenAnswer.letter,
            GivenAnswer.confidence,
            label.label("label"),
        )
        .select_from(GivenAnswer)
        .join(AskedQuestion, asked)
        .join(LoggedRequest, requested)
        .where(GivenAnswer.version == version, GivenAnswer.purpose.is_(None))
        .order_by(GivenAnswer.answered_at.desc())
        .limit(most)
    )
    for row in connection.execute(statement):
        yield VersionAnswer(row.question, row.letter, row.confidence, row.label)


def label_count(connection: Connection, since: float, until: float, most: int | None = None) -> int:
    """How many answers got feedback within [since, until), each counted once; answers of tests are left out.

    With `most`, no more than that many are counted.
    """
    test = select(LoggedRequest.id).where(
        LoggedRequest.id == GivenFeedback.answer_id, LoggedRequest.purpose.is_not(None)
    )
    within = (GivenFeedback.given_at >= since, GivenFeedback.given_at < until)
    answers = select(GivenFeedback.answer_id, GivenFeedback.place).where(*within, ~test.exists()).distinct().limit(most)
    return connection.scalar(select(func.count()).select_from(answers.subquery())) or 0


def label_of(place: Any, column: Any = GivenFeedback.letter) -> ScalarSelect[Any]:
    """`column` of the feedback that counts for an answer: the last that names one of the question's letters.

    A time before the question was asked cannot be right: then the arrival counts. For a statement that reads requests
    and questions; `place` is the answer's in its exchange.
    """
    # Once more under another name: SQLite orders a subquery only by what is in it.
    asked = aliased(LoggedRequest)
    has = or_(
        AskedQuestion.choices.is_(None),
        GivenFeedback.letter <= func.substr(literal(LETTERS, String), AskedQuestion.choices, 1),
    )
    at = case((GivenFeedback.given_at < asked.requested_at, GivenFeedback.arrived_at), else_=GivenFeedback.given_at)
    return (
        select(column)
        .where(
            and_(asked.source == LoggedRequest.source, asked.id == LoggedRequest.id),
            and_(GivenFeedback.answer_id == LoggedRequest.id, GivenFeedback.place == place),
            has,
        )
        .order_by(at.desc(), GivenFeedback.sequence.desc(), GivenFeedback.id.desc(), GivenFeedback.source.desc())
        .limit(1)
        .correlate(LoggedRequest, AskedQuestion, GivenAnswer)
        .scalar_subquery()
    )


def real_questions(since: float, until: float) -> tuple[Any, ...]:
    """Conditions on LoggedRequest: real questions, no test traffic, asked within [since, until)."""
    return LoggedRequest.requested_at >= since, LoggedRequest.requested_at < until, LoggedRequest.purpose.is_(None)
