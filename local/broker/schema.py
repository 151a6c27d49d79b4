"""The broker's tables in SQLite.

`events` has one row per accepted event, `deliveries` one per event and Trigger that matches it. A partial index lists
the queued ones, so reading a queue costs what is in it, not what was ever delivered. `replies` says which event is the
reply of which delivery.
"""

from __future__ import annotations

import sqlite3
from enum import IntEnum

from common.sqlite_wal import write_ahead

VERSION = 1
BUSY_SECONDS = 30.0


class DeliveryState(IntEnum):
    """A delivery's state. PENDING and DEAD_LETTERING are queued; the others are final."""

    PENDING = 0
    DELIVERED = 1
    DEAD_LETTERING = 2  # abandoned; on its way to the dead letter sink
    DEAD_LETTERED = 3  # the dead letter sink accepted it
    DEAD = 4  # abandoned, and no sink accepted it: kept here


_TABLES = """
CREATE TABLE brokers (
    key TEXT PRIMARY KEY,
    object TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE triggers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    object TEXT NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    retried INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX triggers_by_key ON triggers (key) WHERE NOT removed;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    broker TEXT NOT NULL,
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    arrived REAL NOT NULL,
    attributes TEXT NOT NULL,
    headers TEXT NOT NULL,
    data BLOB
);
CREATE INDEX events_by_id ON events (id);
CREATE INDEX events_by_type ON events (type);
CREATE INDEX events_by_arrival ON events (arrived);

CREATE TABLE deliveries (
    event INTEGER NOT NULL REFERENCES events (seq),
    trigger INTEGER NOT NULL REFERENCES triggers (id),
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    sink_attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    status INTEGER,
    error TEXT,
    errors TEXT,
    finished REAL,
    PRIMARY KEY (event, trigger)
) WITHOUT ROWID;
CREATE INDEX queues ON deliveries (trigger, state, event) WHERE state IN (0, 2);
CREATE INDEX dead_letters ON deliveries (event, trigger) WHERE state IN (2, 3, 4);
"""


_TRACEPARENT = "coalesce(json_extract(attributes, '$.traceparent'), json_extract(headers, '$.traceparent'))"
TRACE = f"substr({_TRACEPARENT}, 4, 32)"
"""The trace id in an event's traceparent, or in that of the request that brought it; with HAS_TRACE on an index."""
HAS_TRACE = f"{_TRACEPARENT} IS NOT NULL"

# A broker of the same version without these can use the database, and leaves them as they are.
_ADDED = f"""
CREATE INDEX IF NOT EXISTS events_by_trace ON events ({TRACE}) WHERE {HAS_TRACE};

CREATE TABLE IF NOT EXISTS replies (
    reply INTEGER PRIMARY KEY,
    event INTEGER NOT NULL,
    trigger INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS replies_by_event ON replies (event);
"""


def connect(path: str) -> sqlite3.Connection:
    """A connection without autocommit transactions. WAL with FULL: a commit is on the disk when it returns."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
    write_ahead(db.execute, BUSY_SECONDS)
    db.execute("PRAGMA journal_size_limit = 67108864")
    return db


def create(db: sqlite3.Connection) -> None:
    """Creates missing tables and indices; RuntimeError for a database of another version of the broker."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise RuntimeError(
            f"the broker's database has version {version}, but this broker needs {VERSION}: move it away"
        )
    tables = "" if version == VERSION else f"{_TABLES} PRAGMA user_version = {VERSION};"
    db.executescript(f"BEGIN IMMEDIATE; {tables} {_ADDED} COMMIT;")
