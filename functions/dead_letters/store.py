"""Dead letters in the database: record, list, show, mark."""

from __future__ import annotations

from typing import Any, Literal, get_args

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from functions.dead_letters.parsing import DeadLetter
from functions.dead_letters.tables import DeadLetterRecord

State = Literal["open", "replayed", "discarded"]


def record(connection: Connection, letter: DeadLetter, now: float) -> None:
    """Stores it as open. A known one is counted and reopened: it was replayed, and refused again."""
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    table = DeadLetterRecord.__table__
    values = {name: getattr(letter, name) for name in DeadLetter.__dataclass_fields__}
    statement = dialect.insert(table).values(
        **{**values, "attributes": dict(letter.attributes)}, state="open", times=1, first_at=now, last_at=now
    )
    reopened = {"state": "open", "times": table.c.times + 1, "last_at": now}
    reopened |= {"code": letter.code, "reason": letter.reason}
    connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=reopened))


def letters(connection: Connection, state: State | None = "open", limit: int = 100) -> list[Row[Any]]:
    """The newest letters of a state (None: of any), as rows with DeadLetterRecord's columns."""
    statement = (
        select(DeadLetterRecord.__table__).order_by(DeadLetterRecord.last_at.desc(), DeadLetterRecord.key).limit(limit)
    )
    if state is not None:
        statement = statement.where(DeadLetterRecord.state == state)
    return list(connection.execute(statement))


def summaries(connection: Connection, state: State | None, limit: int) -> list[Row[Any]]:
    """`letters` without their data, which may be large."""
    columns = [column for column in DeadLetterRecord.__table__.columns if column.name != "data"]
    statement = select(*columns).order_by(DeadLetterRecord.last_at.desc(), DeadLetterRecord.key).limit(limit)
    if state is not None:
        statement = statement.where(DeadLetterRecord.state == state)
    return list(connection.execute(statement))


def count(connection: Connection) -> int:
    """How many are open."""
    return connection.scalar(select(func.count()).where(DeadLetterRecord.state == "open")) or 0


def find(connection: Connection, key: str) -> Row[Any] | None:
    """The letter with this key, or the only one whose key begins with it; None for none or several."""
    if not key or not set(key) <= set("0123456789abcdef"):
        return None
    rows = connection.execute(
        select(DeadLetterRecord.__table__).where(DeadLetterRecord.key.startswith(key)).limit(2)
    ).all()
    return rows[0] if len(rows) == 1 else None


def mark(connection: Connection, key: str, state: State, times: int | None = None) -> bool:
    """Sets a letter's state; False when no letter has this key, or it has not arrived `times` times."""
    if state not in get_args(State):
        raise ValueError(f"state: must be one of {', '.join(get_args(State))}, found {state!r}")
    statement = update(DeadLetterRecord).where(DeadLetterRecord.key == key)
    if times is not None:
        statement = statement.where(DeadLetterRecord.times == times)
    return connection.execute(statement.values(state=state)).rowcount > 0
