"""The drift page's statements: each bounded by a count and on an index, so that a million answers cost no more.

Times are Unix seconds, from inclusive, to exclusive. Test traffic is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, or_, select

from functions.collect.queries import label_of
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest
from functions.database import connect, transaction
from functions.drift.reference import FEATURES


@contextmanager
def reading(environ: Mapping[str, str]) -> Iterator[Connection]:
    """A transaction of an engine of its own: a kept connection would go on reading a file that was deleted."""
    engine = connect(environ)
    try:
        with transaction(engine) as connection:
            yield connection
    finally:
        engine.dispose()


def newest_answers(connection: Connection, version: str, since: float, until: float, most: int) -> Sequence[Row[Any]]:
    """Letter and features of the newest answers of a window, at most `most`."""
    columns = [getattr(GivenAnswer, name) for name in FEATURES]
    statement = _answers(select(GivenAnswer.letter, *columns), version, since, until)
    return connection.execute(statement.limit(most)).all()


def count_up_to(connection: Connection, version: str, since: float, until: float, most: int) -> int:
    """How many answers a window holds, counted no further than `most`."""
    some = _answers(select(GivenAnswer.id), version, since, until).limit(most).subquery()
    return connection.scalar(select(func.count()).select_from(some)) or 0


@dataclass(frozen=True, slots=True)
class AskedSubject:
    """A question that was answered, by its key and its subject (None: it named none)."""

    source: str
    id: str
    place: int
    at: float
    subject: str | None


def subjects(connection: Connection, version: str, since: float, until: float, most: int) -> list[AskedSubject]:
    """The subjects of the newest `most` answered questions of a window, the newest first."""
    key = (GivenAnswer.source, GivenAnswer.id, GivenAnswer.place)
    some = _answers(select(*key, GivenAnswer.answered_at), version, since, until).limit(most).subquery()
    same = (AskedQuestion.source == some.c.source, AskedQuestion.id == some.c.id, AskedQuestion.place == some.c.place)
    statement = select(some, AskedQuestion.question["subject"].as_string().label("subject")).join(
        AskedQuestion, and_(*same)
    )
    rows = connection.execute(statement.order_by(some.c.answered_at.desc())).all()
    return [AskedSubject(row.source, row.id, row.place, row.answered_at, row.subject) for row in rows]


def questions(connection: Connection, asked: Sequence[AskedSubject]) -> dict[tuple[str, str, int], Row[Any]]:
    """These questions in full, with the letters that were chosen, by their keys."""
    if not asked:
        return {}
    same = and_(
        GivenAnswer.source == AskedQuestion.source,
        GivenAnswer.id == AskedQuestion.id,
        GivenAnswer.place == AskedQuestion.place,
    )
    # Not a list of tuples, for which PostgreSQL does not use the index.
    these = or_(
        *(
            and_(AskedQuestion.source == a.source, AskedQuestion.id == a.id, AskedQuestion.place == a.place)
            for a in asked
        )
    )
    statement = select(
        AskedQuestion.source, AskedQuestion.id, AskedQuestion.place, AskedQuestion.question, GivenAnswer.letter
    ).join(GivenAnswer, same)
    return {(row.source, row.id, row.place): row for row in connection.execute(statement.where(these))}


def answering_versions(connection: Connection, since: float, until: float, most: int) -> list[str]:
    """The versions that answered within [since, until), those that answered last first, at most `most`.

    Each version costs two searches of the index, however many answers it gave.
    """
    found: list[tuple[float, str]] = []
    version = connection.scalar(select(func.min(GivenAnswer.version)))
    while version is not None:
        within = (GivenAnswer.version == version, GivenAnswer.answered_at >= since, GivenAnswer.answered_at < until)
        last = connection.scalar(select(func.max(GivenAnswer.answered_at)).where(*within))
        if last is not None:
            found.append((last, version))
        version = connection.scalar(select(func.min(GivenAnswer.version)).where(GivenAnswer.version > version))
    return [name for _, name in sorted(found, reverse=True)[:most]]


@dataclass(frozen=True, slots=True)
class Confidence:
    """The confidence of `n` answers: their mean, and the mean of the squares."""

    n: int
    mean: float
    square: float


def confidence(connection: Connection, version: str, since: float, until: float, most: int) -> Confidence:
    """Of the newest `most` answers of a period; all 0 without one."""
    statement = _answers(select(GivenAnswer.confidence.label("c")), version, since, until)
    some = statement.where(GivenAnswer.confidence.is_not(None)).limit(most).subquery()
    row = connection.execute(select(func.count(), func.avg(some.c.c), func.avg(some.c.c * some.c.c))).one()
    return Confidence(row[0], float(row[1] or 0.0), float(row[2] or 0.0))


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """An answer that got feedback: when it was given, by which version, and whether it was right."""

    at: float
    version: str | None
    right: bool


def labelled_answers(connection: Connection, since: float, most: int) -> tuple[list[LabelledAnswer], float | None]:
    """The answers since `since` to which the newest `most` pieces of feedback gave a label.

    Also when the oldest of these pieces arrived, where there were more: before it, labels are missing.
    """
    pieces = connection.execute(
        select(GivenFeedback.answer_id, GivenFeedback.place, GivenFeedback.arrived_at)
        .where(GivenFeedback.arrived_at >= since)
        .order_by(GivenFeedback.arrived_at.desc())
        .limit(most)
    ).all()
    cut = pieces[-1].arrived_at if len(pieces) == most else None
    keys = sorted({(piece.answer_id, piece.place) for piece in pieces})
    found: list[LabelledAnswer] = []
    for begin in range(0, len(keys), _IDS):
        found += _labelled(connection, keys[begin : begin + _IDS], since)
    return found, cut


_IDS = 500
"""Ids in one statement; SQLite and PostgreSQL both read each by an index."""


def _labelled(connection: Connection, keys: Sequence[tuple[str, int]], since: float) -> list[LabelledAnswer]:
    same = and_(GivenAnswer.source == LoggedRequest.source, GivenAnswer.id == LoggedRequest.id)
    asked = and_(
        AskedQuestion.source == GivenAnswer.source,
        AskedQuestion.id == GivenAnswer.id,
        AskedQuestion.place == GivenAnswer.place,
    )
    label = label_of(GivenAnswer.place).label("label")
    columns = (GivenAnswer.id, GivenAnswer.place, GivenAnswer.answered_at, GivenAnswer.version, GivenAnswer.letter)
    statement = (
        select(*columns, label)
        .select_from(LoggedRequest)
        .join(GivenAnswer, same)
        .join(AskedQuestion, asked)
        .where(
            LoggedRequest.id.in_({id for id, _ in keys}),
            LoggedRequest.purpose.is_(None),
            GivenAnswer.answered_at >= since,
            GivenAnswer.letter.is_not(None),
        )
    )
    wanted = set(keys)
    return [
        LabelledAnswer(row.answered_at, row.version, row.letter == row.label)
        for row in connection.execute(statement)
        if row.label is not None and (row.id, row.place) in wanted
    ]


def _answers(statement: Select[*tuple[Any, ...]], version: str, since: float, until: float) -> Select[*tuple[Any, ...]]:
    """The answers of a window, the newest first."""
    return statement.where(
        GivenAnswer.version == version,
        GivenAnswer.answered_at >= since,
        GivenAnswer.answered_at < until,
        GivenAnswer.letter.is_not(None),
        GivenAnswer.purpose.is_(None),
    ).order_by(GivenAnswer.answered_at.desc())
