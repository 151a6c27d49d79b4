"""A SQLite file of the embedded platform. An acknowledged write survives a power cut; writers wait for each other."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from functions.sqlite_wal import write_ahead

BUSY_SECONDS = 20.0


class SqliteFile:
    """One connection, used by one thread at a time. Several processes may open the same file.

    `tables` are the statements that make what is missing. Only the owner may read the file: Secrets and parameters are
    in it.
    """

    def __init__(self, path: Path, tables: str) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sql = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._sql.row_factory = sqlite3.Row
        path.chmod(0o600)
        write_ahead(self._sql.execute, BUSY_SECONDS)
        self._sql.executescript(f"BEGIN IMMEDIATE; {tables} COMMIT;")

    def close(self) -> None:
        with self._lock:
            self._sql.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A snapshot: everything read inside belongs together."""
        with self._transaction("BEGIN"):
            yield

    @contextmanager
    def writing(self, *, commit: bool = True) -> Iterator[None]:
        """The only writer of all processes; rolled back on an exception, and for a dry run."""
        with self._transaction("BEGIN IMMEDIATE", commit=commit):
            yield

    @contextmanager
    def _transaction(self, begin: str, *, commit: bool = True) -> Iterator[None]:
        with self._lock:
            if self._depth:
                yield
                return
            self._sql.execute(begin)
            self._depth = 1
            try:
                yield
            except BaseException:
                self._sql.execute("ROLLBACK")
                raise
            else:
                self._sql.execute("COMMIT" if commit else "ROLLBACK")
            finally:
                self._depth = 0

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row, or None."""
        with self._lock:
            found: sqlite3.Row | None = self._sql.execute(sql, values).fetchone()
            return found

    def all(self, sql: str, *values: Any) -> Sequence[sqlite3.Row]:
        with self._lock:
            return self._sql.execute(sql, values).fetchall()

    def change(self, sql: str, *values: Any) -> int:
        """The number of rows changed."""
        with self._lock:
            return self._sql.execute(sql, values).rowcount
