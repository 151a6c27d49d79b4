"""A drift window from the payload log, in chunks, so its memory does not depend on how much was logged.

Times are Unix seconds, from inclusive, to exclusive. Test traffic is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from functions.collect.tables import GivenAnswer
from functions.database import CHUNK, stream
from functions.drift.reference import FEATURES


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some answers of a window: by feature one value per answer (None: the client did not request it), and letters."""

    features: dict[str, Sequence[float | None]]
    letters: Sequence[str]


def window_chunks(
    connection: Connection, version: str, since: float, until: float, chunk: int = CHUNK
) -> Iterator[Chunk]:
    """The answers that `version` gave within [since, until), in chunks for drift's Window.add."""
    columns = [getattr(GivenAnswer, name) for name in FEATURES]
    statement = select(GivenAnswer.letter, *columns).where(
        GivenAnswer.version == version,
        GivenAnswer.answered_at >= since,
        GivenAnswer.answered_at < until,
        GivenAnswer.letter.is_not(None),
        GivenAnswer.purpose.is_(None),
    )
    for rows in stream(connection, statement, chunk).partitions():
        letters, *values = zip(*rows, strict=True)
        yield Chunk(dict(zip(FEATURES, values, strict=True)), letters)


def count_answers(connection: Connection, version: str, since: float, until: float) -> int:
    """How many answers a window holds."""
    statement = select(func.count()).where(
        GivenAnswer.version == version,
        GivenAnswer.answered_at >= since,
        GivenAnswer.answered_at < until,
        GivenAnswer.letter.is_not(None),
        GivenAnswer.purpose.is_(None),
    )
    return connection.scalar(statement) or 0


def first_answer(connection: Connection, version: str) -> float | None:
    """When `version` gave its first answer."""
    statement = select(GivenAnswer.answered_at).where(GivenAnswer.version == version, GivenAnswer.purpose.is_(None))
    return connection.scalar(statement.order_by(GivenAnswer.answered_at).limit(1))
