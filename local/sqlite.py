"""A SQLite file of the embedded platform. An acknowledged write survives a power cut; writers wait for each other.

A write that is impossible at the moment (a full disk, a lock held for long) is rolled back and raises StorageError.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.sqlite_wal import write_ahead
from local.storage import DESCRIPTIONS, StorageError, StorageFailure, failure_code

log = logging.getLogger("storage")

BUSY_SECONDS = 20.0


_ORPHANS: list[sqlite3.Connection] = []


def inode(path: Path) -> int:
    """Which file is at this path now; 0 for none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def restore_file(path: Path, *connections: sqlite3.Connection) -> None:
    """After the file or its folder was removed: writes it again from open connections, which still have all of it.

    The connections must not be used any more. If another process has restored it already, its file counts.
    """
    if path.exists():
        _ORPHANS.extend(
            connections
        )  # closing them would remove the new file's write-ahead log, which has the same name
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    connections[0].execute("VACUUM INTO ?", (str(part),))
    part.chmod(0o600)
    for connection in connections:
        connection.close()
    for suffix in ("-wal", "-shm"):  # of the removed file
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with suppress(FileExistsError):
        os.link(part, path)
    part.unlink()
    log.warning("%s was removed while it was open and has been restored", path)


class SqliteFile:
    """One connection, used by one thread at a time. Several processes may open the same file. StorageError if it
    cannot be opened now.

    `tables` are the statements that create what is missing. Only the owner may read the file, which contains Secrets
    and parameters.
    """

    part = ""
    """The part of the platform that the file belongs to, for people."""

    def __init__(self, path: Path, tables: str) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._path = path
        self.storage_failure: StorageFailure | None = None
        """What prevents writing, as found by the last writer or `check`."""
        with self._storage_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            self._sql.executescript(f"BEGIN IMMEDIATE; {tables} COMMIT;")

    def _open(self) -> None:
        self._sql = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._sql.row_factory = sqlite3.Row
        self._path.chmod(0o600)
        write_ahead(self._sql.execute, BUSY_SECONDS)
        self._inode = inode(self._path)

    def close(self) -> None:
        with self._lock:
            self._sql.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A snapshot: everything read inside is consistent."""
        with self._transaction("BEGIN"):
            yield

    @contextmanager
    def writing(self, *, commit: bool = True) -> Iterator[None]:
        """The only writer of all processes; rolled back after an exception, and for a dry run."""
        with self._transaction("BEGIN IMMEDIATE", commit=commit):
            yield

    @contextmanager
    def _transaction(self, begin: str, *, commit: bool = True) -> Iterator[None]:
        with self._lock, self._storage_errors():
            if self._depth:
                yield
                return
            if begin != "BEGIN" and inode(self._path) != self._inode:
                restore_file(self._path, self._sql)
                self._open()
            self._sql.execute(begin)
            self._depth = 1
            try:
                yield
                if commit:
                    self._sql.execute("COMMIT")
                    self._recovered(begin)
            finally:
                self._depth = 0
                # Not after a COMMIT, and SQLite may have rolled back a failed write by itself.
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")

    def check(self) -> None:
        """Tests whether it can be written again after a failure; never raises for that."""
        with suppress(StorageError), self.writing():
            self._sql.execute("PRAGMA user_version = 0")

    def _recovered(self, begin: str) -> None:
        if self.storage_failure and begin != "BEGIN":
            log.info("%s can be written again, after %.1f s", self._path, time.time() - self.storage_failure.since)
            self.storage_failure = None

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Raises SQLite's storage errors as StorageError."""
        try:
            yield
        except sqlite3.Error as error:
            if (code := failure_code(error, self._path.parent)) is None:
                raise
            if self.storage_failure is None:
                log.error("%s cannot be written: %s", self._path, DESCRIPTIONS[code])  # noqa: TRY400 - no bug
                self.storage_failure = StorageFailure(self.part, str(self._path), code, time.time())
            raise StorageError(code, self._path) from error

    def fetch_one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row, or None."""
        with self._lock, self._storage_errors():
            row: sqlite3.Row | None = self._sql.execute(sql, values).fetchone()
            return row

    def fetch_all(self, sql: str, *values: Any) -> Sequence[sqlite3.Row]:
        with self._lock, self._storage_errors():
            return self._sql.execute(sql, values).fetchall()

    def execute(self, sql: str, *values: Any) -> int:
        """The number of rows changed."""
        with self._lock, self._storage_errors():
            return self._sql.execute(sql, values).rowcount
