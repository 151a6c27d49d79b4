"""The SQL that reads and writes events, deliveries, Brokers and Triggers: one small function per statement."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from local.broker.cloudevent import CloudEvent
from local.broker.schema import DeliveryState

# `state IN` repeats the partial index's condition: without it and the hint SQLite scans the whole table.
_QUEUE = "deliveries INDEXED BY queues WHERE trigger = ? AND state = ? AND state IN (0, 2)"


@dataclass(frozen=True, slots=True)
class QueuedDelivery:
    """A delivery in a queue. `due` is in seconds since the epoch; `errors` are the dead letter's extensions, if any."""

    event_seq: int
    event: CloudEvent
    headers: dict[str, str]
    attempts: int = 0
    due: float = 0.0
    errors: dict[str, str | int] | None = None


def insert_event(
    db: sqlite3.Connection,
    broker: str,
    event: CloudEvent,
    headers: dict[str, str],
    arrived: float,
    triggers: Iterable[int],
) -> int:
    """Stores an event with a delivery for each of these Triggers; returns the event's sequence number."""
    cursor = db.execute(
        "INSERT INTO events (broker, id, source, type, arrived, attributes, headers, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            broker,
            event.id,
            event.source,
            event.type,
            arrived,
            json.dumps(dict(event.attributes)),
            json.dumps(headers) if headers else "{}",
            event.data,
        ),
    )
    seq = cursor.lastrowid
    assert seq is not None
    db.executemany(
        "INSERT INTO deliveries (event, trigger, state) VALUES (?, ?, 0)", [(seq, trigger) for trigger in triggers]
    )
    return seq


def record_reply(db: sqlite3.Connection, event: int, trigger: int, reply: int) -> None:
    """The event `reply` is the Trigger's subscriber's answer to `event`."""
    db.execute("INSERT INTO replies (reply, event, trigger) VALUES (?, ?, ?)", (reply, event, trigger))


def mark_delivered(db: sqlite3.Connection, event: int, trigger: int, attempts: int, status: int, now: float) -> None:
    """The subscriber accepted it."""
    db.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, status = ?, error = NULL, errors = NULL, finished = ?"
        " WHERE event = ? AND trigger = ?",
        (int(DeliveryState.DELIVERED), attempts, status, now, event, trigger),
    )
    db.execute("UPDATE triggers SET delivered = delivered + 1 WHERE id = ?", (trigger,))


def mark_retry(
    db: sqlite3.Connection, event: int, trigger: int, attempts: int, due: float, status: int | None, error: str
) -> None:
    """An attempt at the subscriber failed and another follows at `due`."""
    db.execute(
        "UPDATE deliveries SET attempts = ?, due = ?, status = ?, error = ? WHERE event = ? AND trigger = ?",
        (attempts, due, status, error, event, trigger),
    )
    db.execute("UPDATE triggers SET retried = retried + 1 WHERE id = ?", (trigger,))


def mark_sink_retry(db: sqlite3.Connection, event: int, trigger: int, attempts: int, due: float) -> None:
    """An attempt at the dead letter sink failed and another follows at `due`."""
    db.execute(
        "UPDATE deliveries SET sink_attempts = ?, due = ? WHERE event = ? AND trigger = ?",
        (attempts, due, event, trigger),
    )


def mark_failed(
    db: sqlite3.Connection,
    event: int,
    trigger: int,
    state: DeliveryState,
    attempts: int,
    status: int | None,
    error: str,
    errors: dict[str, str | int],
    now: float,
) -> None:
    """Delivery to the subscriber is abandoned: DEAD_LETTERING if there is a sink, DEAD if there is none."""
    db.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, sink_attempts = 0, due = 0, status = ?, error = ?, errors = ?,"
        " finished = ? WHERE event = ? AND trigger = ?",
        (int(state), attempts, status, error, json.dumps(errors), now, event, trigger),
    )
    db.execute("UPDATE triggers SET failed = failed + 1 WHERE id = ?", (trigger,))


def mark_dead_lettered(
    db: sqlite3.Connection, event: int, trigger: int, state: DeliveryState, error: str | None
) -> None:
    """The sink accepted it (DEAD_LETTERED) or failed (DEAD, `error` says why). The subscriber's status stays."""
    db.execute(
        "UPDATE deliveries SET state = ?, error = coalesce(?, error) WHERE event = ? AND trigger = ?",
        (int(state), error, event, trigger),
    )


def next_deliveries(
    db: sqlite3.Connection, trigger: int, state: DeliveryState, limit: int, exclude: Collection[int], max_bytes: int
) -> tuple[list[QueuedDelivery], bool]:
    """The next deliveries in a queue, oldest first, and whether they are the whole queue.

    At most `limit`, and no more once the payloads exceed `max_bytes`; the events in `exclude` are skipped.
    """
    deliveries: list[QueuedDelivery] = []
    size = rows_read = 0
    row_limit = limit + len(exclude)
    for (seq,) in db.execute(
        f"SELECT event FROM {_QUEUE} ORDER BY event LIMIT ?",
        (trigger, int(state), row_limit),
    ).fetchall():
        rows_read += 1
        if seq in exclude:
            continue
        if len(deliveries) == limit or size > max_bytes:
            return deliveries, False
        attempts_column = "attempts" if state is DeliveryState.PENDING else "sink_attempts"
        row = db.execute(
            f"SELECT d.{attempts_column}, d.due, d.errors, e.attributes, e.headers, e.data"
            " FROM deliveries d JOIN events e ON e.seq = d.event WHERE d.event = ? AND d.trigger = ?",
            (seq, trigger),
        ).fetchone()
        if row is None:
            continue
        attempts, due, errors, attributes, headers, data = row
        event = CloudEvent(json.loads(attributes), data)
        size += len(data or b"")
        extensions = None if errors is None else json.loads(errors)
        deliveries.append(QueuedDelivery(seq, event, json.loads(headers), attempts, due, extensions))
    return deliveries, rows_read < row_limit


def queue_depth(db: sqlite3.Connection, trigger: int, state: DeliveryState) -> int:
    """How many deliveries are in a queue."""
    (count,) = db.execute(f"SELECT count(*) FROM {_QUEUE}", (trigger, int(state))).fetchone()
    return int(count)


def requeue(db: sqlite3.Connection, event: int, trigger: int, to: int) -> QueuedDelivery | None:
    """Queues a dead letter for the Trigger `to` (its own or its replacement); None if it is no longer a dead letter."""
    cursor = db.execute(
        "UPDATE OR REPLACE deliveries SET trigger = ?, state = 0, attempts = 0, sink_attempts = 0, due = 0,"
        " finished = NULL WHERE event = ? AND trigger = ? AND state IN (3, 4)",
        (to, event, trigger),
    )
    if cursor.rowcount == 0:
        return None
    attributes, headers, data = db.execute(
        "SELECT attributes, headers, data FROM events WHERE seq = ?", (event,)
    ).fetchone()
    return QueuedDelivery(event, CloudEvent(json.loads(attributes), data), json.loads(headers))


def save_broker(db: sqlite3.Connection, key: str, item: dict[str, Any]) -> None:
    db.execute("INSERT OR REPLACE INTO brokers (key, object) VALUES (?, ?)", (key, json.dumps(item)))


def delete_broker(db: sqlite3.Connection, key: str) -> None:
    db.execute("DELETE FROM brokers WHERE key = ?", (key,))


def save_trigger(db: sqlite3.Connection, key: str, item: dict[str, Any]) -> int:
    """The Trigger's number: the same while it exists, a new one after it was removed."""
    text = json.dumps(item)
    row = db.execute(
        "UPDATE triggers SET object = ? WHERE key = ? AND NOT removed RETURNING id", (text, key)
    ).fetchone()
    if row is not None:
        return int(row[0])
    cursor = db.execute("INSERT INTO triggers (key, object) VALUES (?, ?)", (key, text))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def mark_trigger_removed(db: sqlite3.Connection, number: int) -> None:
    """Marks the Trigger as removed. Its dead letters stay; `retention.delete_abandoned` empties its queue."""
    db.execute("UPDATE triggers SET removed = 1 WHERE id = ?", (number,))


def load_resources(db: sqlite3.Connection) -> tuple[list[dict[str, Any]], list[tuple[int, dict[str, Any]]]]:
    """The Brokers' objects, and the Triggers' objects with their numbers."""
    brokers = [json.loads(item) for (item,) in db.execute("SELECT object FROM brokers ORDER BY key")]
    triggers = [
        (number, json.loads(item))
        for number, item in db.execute("SELECT id, object FROM triggers WHERE NOT removed ORDER BY id")
    ]
    return brokers, triggers
