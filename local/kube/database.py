"""The SQLite file below the store: current objects, and the changes that made them, numbered by resourceVersion."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from local.kube.errors import expired
from local.kube.resources import Object, Resource

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

_TABLES = """
CREATE TABLE IF NOT EXISTS counter (
    one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, compacted INTEGER NOT NULL
);
INSERT OR IGNORE INTO counter VALUES (1, 1, 0);
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, object TEXT NOT NULL,
    PRIMARY KEY (kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (
    version INTEGER PRIMARY KEY, kind TEXT NOT NULL, namespace TEXT NOT NULL, type TEXT NOT NULL,
    before TEXT, after TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS changes_by_kind ON changes (kind, version);
"""
BUSY_SECONDS = 20.0
PAGE = 500


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the object after it (for DELETED as it was last, with the deletion's version) and before it."""

    version: int
    type: ChangeType
    object: Object
    before: Object | None


class Database:
    """One connection, used by one thread at a time. Several processes may open the same file."""

    def __init__(self, path: Path, keep: int) -> None:
        self._keep = keep
        self._lock = threading.RLock()
        self._depth = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sql = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)  # Secrets are in it
        self._sql.execute("PRAGMA journal_mode = WAL")
        # FULL: an acknowledged write survives a power cut too, not only kill -9.
        self._sql.execute("PRAGMA synchronous = FULL")
        self._sql.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")

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

    def version(self) -> int:
        """The version of the newest change."""
        return int(self._one("SELECT version FROM counter")[0])

    def next_version(self) -> int:
        return int(self._one("UPDATE counter SET version = version + 1 RETURNING version")[0])

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        row = self._one(
            "SELECT object FROM objects WHERE kind = ? AND namespace = ? AND name = ?",
            _kind(resource),
            namespace,
            name,
        )
        return json.loads(row[0]) if row else None

    def list(self, resource: Resource, namespace: str | None, after: tuple[str, str] = ("", "")) -> Iterator[Object]:
        """Objects in order of (namespace, name), beyond `after`; of every namespace for None."""
        sql = "SELECT object FROM objects WHERE kind = ? AND (namespace, name) > (?, ?)"
        values: list[str] = [_kind(resource), *after]
        if namespace is not None:
            sql, values = sql + " AND namespace = ?", [*values, namespace]
        for row in self._all(sql + " ORDER BY namespace, name", *values):
            yield json.loads(row[0])

    def dependents(self, uid: str) -> Sequence[Object]:
        """Objects that name this uid among their owners."""
        sql = """SELECT object FROM objects WHERE EXISTS (
            SELECT 1 FROM json_each(object, '$.metadata.ownerReferences') WHERE json_extract(value, '$.uid') = ?)"""
        return [json.loads(row[0]) for row in self._all(sql, uid)]

    def in_namespace(self, namespace: str) -> Sequence[Object]:
        return [json.loads(row[0]) for row in self._all("SELECT object FROM objects WHERE namespace = ?", namespace)]

    def put(self, resource: Resource, item: Object, before: Object | None) -> None:
        """Stores an object under its metadata's resourceVersion, as the change of that version."""
        metadata, text = item["metadata"], json.dumps(item, separators=(",", ":"))
        key = (_kind(resource), metadata.get("namespace", ""), metadata["name"])
        self._sql.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", (*key, text))
        self._record(key, int(metadata["resourceVersion"]), "MODIFIED" if before else "ADDED", before, text)

    def remove(self, resource: Resource, item: Object, before: Object) -> None:
        """Deletes an object; `item` is what watchers see, with the deletion's resourceVersion."""
        metadata = item["metadata"]
        key = (_kind(resource), metadata.get("namespace", ""), metadata["name"])
        self._sql.execute("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", key)
        text = json.dumps(item, separators=(",", ":"))
        self._record(key, int(metadata["resourceVersion"]), "DELETED", before, text)

    def changes(self, resource: Resource, namespace: str | None, since: int, limit: int = PAGE) -> Sequence[Change]:
        """Changes after version `since`, oldest first; ApiError 410 when some of them are no longer kept."""
        compacted = int(self._one("SELECT compacted FROM counter")[0])
        if since < compacted:
            raise expired(since, compacted)
        sql = "SELECT version, type, after, before FROM changes WHERE kind = ? AND version > ?"
        values: list[str | int] = [_kind(resource), since]
        if namespace is not None:
            sql, values = sql + " AND namespace = ?", [*values, namespace]
        rows = self._all(sql + " ORDER BY version LIMIT ?", *values, limit)
        return [Change(v, t, json.loads(after), json.loads(before) if before else None) for v, t, after, before in rows]

    def _record(
        self, key: tuple[str, str, str], version: int, type: ChangeType, before: Object | None, after: str
    ) -> None:
        old = json.dumps(before, separators=(",", ":")) if before else None
        self._sql.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)", (version, *key[:2], type, old, after))
        if version % 64 == 0:
            self._sql.execute("DELETE FROM changes WHERE version <= ?", (version - self._keep,))
            self._sql.execute("UPDATE counter SET compacted = max(compacted, ?)", (version - self._keep,))

    def _one(self, sql: str, *values: str | int) -> tuple:
        with self._lock:
            return self._sql.execute(sql, values).fetchone()

    def _all(self, sql: str, *values: str | int) -> Sequence[tuple]:
        with self._lock:
            return self._sql.execute(sql, values).fetchall()


def _kind(resource: Resource) -> str:
    return f"{resource.group}/{resource.kind}"
