"""The SQLite file below the store: current objects, and the changes that made them, numbered by resourceVersion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from local.kube.errors import expired
from local.kube.resources import Object, Resource
from local.sqlite import SqliteFile

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
PAGE = 500


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the object after it (for DELETED as it was last, with the deletion's version) and before it."""

    version: int
    type: ChangeType
    object: Object
    before: Object | None


class ObjectDatabase(SqliteFile):
    """Objects and their changes; of the changes the newest `keep` stay."""

    part = "API"

    def __init__(self, path: Path, keep: int) -> None:
        super().__init__(path, _TABLES)
        self._keep = keep

    def version(self) -> int:
        """The version of the newest change."""
        return self._number("SELECT version FROM counter")

    def next_version(self) -> int:
        return self._number("UPDATE counter SET version = version + 1 RETURNING version")

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        row = self.fetch_one(
            "SELECT object FROM objects WHERE kind = ? AND namespace = ? AND name = ?",
            _kind_key(resource),
            namespace,
            name,
        )
        return json.loads(row[0]) if row else None

    def list(self, resource: Resource, namespace: str | None, after: tuple[str, str] = ("", "")) -> Iterator[Object]:
        """Objects in order of (namespace, name), beyond `after`; of every namespace for None."""
        sql = "SELECT object FROM objects WHERE kind = ? AND (namespace, name) > (?, ?)"
        values: list[str] = [_kind_key(resource), *after]
        if namespace is not None:
            sql, values = sql + " AND namespace = ?", [*values, namespace]
        for row in self.fetch_all(sql + " ORDER BY namespace, name", *values):
            yield json.loads(row[0])

    def dependents(self, uid: str) -> Sequence[Object]:
        """Objects that name this uid among their owners."""
        sql = """SELECT object FROM objects WHERE EXISTS (
            SELECT 1 FROM json_each(object, '$.metadata.ownerReferences') WHERE json_extract(value, '$.uid') = ?)"""
        return [json.loads(row[0]) for row in self.fetch_all(sql, uid)]

    def in_namespace(self, namespace: str) -> Sequence[Object]:
        return [
            json.loads(row[0]) for row in self.fetch_all("SELECT object FROM objects WHERE namespace = ?", namespace)
        ]

    def put(self, resource: Resource, item: Object, before: Object | None) -> None:
        """Stores an object under its metadata's resourceVersion, as the change of that version."""
        metadata, text = item["metadata"], json.dumps(item, separators=(",", ":"))
        key = (_kind_key(resource), metadata.get("namespace", ""), metadata["name"])
        self.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", *key, text)
        self._record(key, int(metadata["resourceVersion"]), "MODIFIED" if before else "ADDED", before, text)

    def remove(self, resource: Resource, item: Object, before: Object) -> None:
        """Deletes an object; `item` is what watchers see, with the deletion's resourceVersion."""
        metadata = item["metadata"]
        key = (_kind_key(resource), metadata.get("namespace", ""), metadata["name"])
        self.execute("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", *key)
        text = json.dumps(item, separators=(",", ":"))
        self._record(key, int(metadata["resourceVersion"]), "DELETED", before, text)

    def changes(self, resource: Resource, namespace: str | None, since: int, limit: int = PAGE) -> Sequence[Change]:
        """Changes after version `since`, oldest first; StatusError 410 when some of them are no longer kept."""
        compacted = self._number("SELECT compacted FROM counter")
        if since < compacted:
            raise expired(since, compacted)
        sql = "SELECT version, type, after, before FROM changes WHERE kind = ? AND version > ?"
        values: list[str | int] = [_kind_key(resource), since]
        if namespace is not None:
            sql, values = sql + " AND namespace = ?", [*values, namespace]
        rows = self.fetch_all(sql + " ORDER BY version LIMIT ?", *values, limit)
        return [Change(v, t, json.loads(after), json.loads(before) if before else None) for v, t, after, before in rows]

    def _number(self, sql: str) -> int:
        row = self.fetch_one(sql)
        assert row is not None
        return int(row[0])

    def _record(
        self, key: tuple[str, str, str], version: int, type: ChangeType, before: Object | None, after: str
    ) -> None:
        old = json.dumps(before, separators=(",", ":")) if before else None
        self.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)", version, *key[:2], type, old, after)
        if version % 64 == 0:
            self.execute("DELETE FROM changes WHERE version <= ?", version - self._keep)
            self.execute("UPDATE counter SET compacted = max(compacted, ?)", version - self._keep)


def _kind_key(resource: Resource) -> str:
    return f"{resource.group}/{resource.kind}"
