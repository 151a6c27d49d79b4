"""The loop's one SQL database: SQLite on one machine, PostgreSQL on a cluster, through the same statements.

Every fact is a row of its own, inserted once under the key of its event. Nothing is read before it is written, so
events may come twice, in any order and at the same time, and SQLite's lock is never upgraded.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    CursorResult,
    Engine,
    Executable,
    Select,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DataError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, mapped_column

from common.errors import SettingError, UnavailableError
from common.sqlite_wal import write_ahead
from functions.events import BadEventError

URL_VARIABLE = "MCQA_DATABASE_URL"
LOCK_SECONDS = 5.0
"""How long a writer waits for SQLite's lock, or a connection for PostgreSQL, before the Broker has to retry."""

_POSTGRESQL = {
    "connect_timeout": int(LOCK_SECONDS),
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""libpq's options: a query to a machine that is gone ends within a minute, not with TCP's two hours."""

UNDEFINED_TABLE = "42P01"
"""PostgreSQL's SQLSTATE."""

CHUNK = 2_000
"""Rows at a time. Ten times as many take 1.5 times as long a row: they leave the processor's cache."""


class Base(DeclarativeBase):
    """All tables of the loop; `functions/migrations` makes them."""


class ReasonColumns:
    """Why and by whom a row was decided: `functions.reasons.Reason.to_columns`, with the sentence as rendered then.

    The codes are "unknown" where an older release wrote the row and its sentence does not identify them.
    """

    reason: Mapped[str] = mapped_column(Text)
    reason_code: Mapped[str] = mapped_column(String(32), server_default="unknown")
    initiated_by: Mapped[str] = mapped_column(String(16), server_default="unknown")
    reason_params: Mapped[dict[str, Any] | None] = mapped_column(JSON)


def connect(environ: Mapping[str, str]) -> Engine:
    """The engine for MCQA_DATABASE_URL. Opens no connection. SettingError when the URL is missing or unusable."""
    url = environ.get(URL_VARIABLE, "")
    if not url:
        raise SettingError(
            f"{URL_VARIABLE} is not set and has no default; set sqlite:////path or postgresql://user@host/name"
        )
    try:
        return engine(url)
    except (ArgumentError, NoSuchModuleError):
        raise SettingError(
            f"{URL_VARIABLE} is not a database URL; set sqlite:////path or postgresql://user@host/name"
        ) from None


def engine(url: str) -> Engine:
    """An engine for a sqlite or postgresql URL (psycopg 3 where it names no driver)."""
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed, pool_pre_ping=True, pool_timeout=LOCK_SECONDS, connect_args=_POSTGRESQL)
    if parsed.get_backend_name() != "sqlite":
        raise ArgumentError(f"{parsed.get_backend_name()} is not supported")
    created = create_engine(parsed, connect_args={"timeout": LOCK_SECONDS})
    event.listen(created, "connect", _prepare_sqlite)
    return created


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction. Raises UnavailableError when the database is unavailable, locked or has no tables yet.

    A value that the database cannot hold is the event's fault: BadEventError.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except DataError as error:
        raise BadEventError(f"the database cannot hold it: {_first_line(error)}") from None
    except (SQLAlchemyError, sqlite3.Error) as error:  # the latter from the preparation of a new connection
        hint = "; run `python -m functions.migrate`" if _lacks_a_table(error) else ""
        raise UnavailableError(f"the database is not available: {_first_line(error)}{hint}") from None


def insert_once(connection: Connection, table: Any, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bool:
    """Inserts the rows whose key is not there yet; whether the first was new. `table` is a mapped class."""
    values = [rows] if isinstance(rows, Mapping) else list(rows)
    if not values:
        return False
    target: Table = table.__table__
    statement: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(target)
    # Not by rowcount, which not every driver gives for an insert.
    inserted = statement.values(values[0]).on_conflict_do_nothing().returning(*target.primary_key)
    first = connection.execute(inserted).first() is not None
    if len(values) > 1:
        connection.execute(statement.on_conflict_do_nothing(), values[1:])
    return first


def put(connection: Connection, table: Any, values: Mapping[str, Any]) -> None:
    """Inserts the row, or replaces the one with its key."""
    target = table.__table__
    keys = {column.name for column in target.primary_key}
    statement: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(target).values(values)
    others = {name: value for name, value in values.items() if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=list(target.primary_key), set_=others))


def stream(connection: Connection, statement: Executable, chunk: int = CHUNK) -> CursorResult[Any]:
    """The rows of a statement, fetched `chunk` at a time."""
    return connection.execute(statement, execution_options={"stream_results": True, "yield_per": chunk})


def distinct_values(connection: Connection, column: InstrumentedAttribute[str | None]) -> Iterator[str | None]:
    """None and each value of an indexed column, with as many look-ups in the index as there are values."""
    yield None
    value = connection.scalar(select(func.min(column)))
    while value is not None:
        yield value
        value = connection.scalar(select(func.min(column)).where(column > value))


def count_up_to(connection: Connection, rows: Select[Any], most: int) -> int:
    """How many rows a statement has; `most + 1` for more than `most`, and no more than those are read."""
    return connection.scalar(select(func.count()).select_from(rows.limit(most + 1).subquery())) or 0


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # Safe against a power cut, because the Broker forgets what was acknowledged.
    write_ahead(connection.execute, LOCK_SECONDS)


def _lacks_a_table(error: Exception) -> bool:
    original = getattr(error, "orig", None)
    if sqlstate := getattr(original, "sqlstate", None):
        return bool(sqlstate == UNDEFINED_TABLE)
    # SQLite has one code for every error in a statement. Only the hint depends on its text.
    return isinstance(original, sqlite3.OperationalError) and str(original).startswith("no such table")


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:200]
