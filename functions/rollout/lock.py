"""One reconciliation at a time, in all processes: aliases have no compare-and-swap, so there must be a single writer.

PostgreSQL: an advisory lock of the session. SQLite: a lock on a file next to the database, because a transaction of
that length would block every other writer. Both end with the process that holds them.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from common.errors import UnavailableError

PATIENCE = 10.0
_PAUSE = 0.05


@contextmanager
def single_writer(engine: Engine, name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Waits up to `patience` seconds for its turn, then UnavailableError. `name` identifies the lock."""
    with _postgresql(engine, name, patience) if engine.dialect.name == "postgresql" else _file(engine, patience):
        yield


@contextmanager
def _file(engine: Engine, patience: float) -> Iterator[None]:
    try:
        handle = Path(f"{engine.url.database}.rollout.lock").open("ab")  # noqa: SIM115
    except OSError as error:
        raise UnavailableError(f"the lock next to the database cannot be opened: {error.strerror}") from None
    with handle:

        def taken() -> bool:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        _wait(taken, patience)
        yield


@contextmanager
def _postgresql(engine: Engine, name: str, patience: float) -> Iterator[None]:
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as error:
        raise UnavailableError(f"the database is not available: {str(error).partition(chr(10))[0][:200]}") from None
    key = {"key": f"rollout {name}"}
    with connection:
        take = text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))")
        _wait(lambda: bool(connection.scalar(take, key)), patience)
        try:
            yield
        finally:
            # The connection returns to the pool, which would keep the lock.
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))"), key)


def _wait(taken: Callable[[], bool], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not taken():
        if time.monotonic() > deadline:
            raise UnavailableError("another reconciliation of the rollout is under way; try again")
        time.sleep(_PAUSE)
