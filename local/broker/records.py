"""Reading and writing events, deliveries and configuration: one small function a statement."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from local.broker.cloudevent import CloudEvent
from local.broker.schema import State

# The state's list repeats the partial index's own condition: without it, or without being told, SQLite reads it all.
_QUEUE = "deliveries INDEXED BY queues WHERE trigger = ? AND state = ? AND state IN (0, 2)"


@dataclass(frozen=True, slots=True)
class Queued:
    """A delivery still to do. `due` is in seconds since the epoch; `errors` the dead letter's extensions, if any."""

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
    """Stores an event with a delivery for each of these Triggers; the event's sequence number."""
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


def mark_delivered(db: sqlite3.Connection, event: int, trigger: int, attempts: int, status: int, now: float) -> None:
    """The subscriber has it."""
    db.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, status = ?, error = NULL, errors = NULL, finished = ?"
        " WHERE event = ? AND trigger = ?",
        (int(State.DELIVERED), attempts, status, now, event, trigger),
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
    state: State,
    attempts: int,
    status: int | None,
    error: str,
    errors: dict[str, str | int],
    now: float,
) -> None:
    """The subscriber's delivery is given up: DEAD_LETTERING where there is a sink, DEAD where there is none."""
    db.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, sink_attempts = 0, due = 0, status = ?, error = ?, errors = ?,"
        " finished = ? WHERE event = ? AND trigger = ?",
        (int(state), attempts, status, error, json.dumps(errors), now, event, trigger),
    )
    db.execute("UPDATE triggers SET failed = failed + 1 WHERE id = ?", (trigger,))


def mark_dead_letter(db: sqlite3.Connection, event: int, trigger: int, state: State, error: str | None) -> None:
    """The sink took it (DEAD_LETTERED) or will not (DEAD, `error` says why). What the subscriber said stays."""
    db.execute(
        "UPDATE deliveries SET state = ?, error = coalesce(?, error) WHERE event = ? AND trigger = ?",
        (int(state), error, event, trigger),
    )


def queued(
    db: sqlite3.Connection, trigger: int, state: State, limit: int, without: Collection[int], most_bytes: int
) -> tuple[list[Queued], bool]:
    """The next deliveries in a queue, oldest first, and whether these are all of it.

    At most `limit`, and no more after the payloads exceed `most_bytes`; those of the events in `without` are left out.
    """
    found: list[Queued] = []
    size = seen = 0
    wanted = limit + len(without)
    for (seq,) in db.execute(
        f"SELECT event FROM {_QUEUE} ORDER BY event LIMIT ?",
        (trigger, int(state), wanted),
    ).fetchall():
        seen += 1
        if seq in without:
            continue
        if len(found) == limit or size > most_bytes:
            return found, False
        attempts_of = "attempts" if state is State.PENDING else "sink_attempts"
        row = db.execute(
            f"SELECT d.{attempts_of}, d.due, d.errors, e.attributes, e.headers, e.data"
            " FROM deliveries d JOIN events e ON e.seq = d.event WHERE d.event = ? AND d.trigger = ?",
            (seq, trigger),
        ).fetchone()
        if row is None:
            continue
        attempts, due, errors, attributes, headers, data = row
        event = CloudEvent(json.loads(attributes), data)
        size += len(data or b"")
        found.append(
            Queued(seq, event, json.loads(headers), attempts, due, None if errors is None else json.loads(errors))
        )
    return found, seen < wanted


def depth(db: sqlite3.Connection, trigger: int, state: State) -> int:
    """How many deliveries a queue holds."""
    (found,) = db.execute(f"SELECT count(*) FROM {_QUEUE}", (trigger, int(state))).fetchone()
    return int(found)


def replay(db: sqlite3.Connection, event: int, trigger: int, to: int) -> Queued | None:
    """Queues a dead letter for the Trigger `to` (its own, or what replaced it); None when it is none (any more)."""
    done = db.execute(
        "UPDATE OR REPLACE deliveries SET trigger = ?, state = 0, attempts = 0, sink_attempts = 0, due = 0,"
        " finished = NULL WHERE event = ? AND trigger = ? AND state IN (3, 4)",
        (to, event, trigger),
    )
    if done.rowcount == 0:
        return None
    attributes, headers, data = db.execute(
        "SELECT attributes, headers, data FROM events WHERE seq = ?", (event,)
    ).fetchone()
    return Queued(event, CloudEvent(json.loads(attributes), data), json.loads(headers))


def put_broker(db: sqlite3.Connection, key: str, item: dict[str, Any]) -> None:
    db.execute("INSERT OR REPLACE INTO brokers (key, object) VALUES (?, ?)", (key, json.dumps(item)))


def delete_broker(db: sqlite3.Connection, key: str) -> None:
    db.execute("DELETE FROM brokers WHERE key = ?", (key,))


def put_trigger(db: sqlite3.Connection, key: str, item: dict[str, Any]) -> int:
    """The Trigger's number: its old one while it is there, a new one after it was removed."""
    text = json.dumps(item)
    row = db.execute(
        "UPDATE triggers SET object = ? WHERE key = ? AND NOT removed RETURNING id", (text, key)
    ).fetchone()
    if row is not None:
        return int(row[0])
    cursor = db.execute("INSERT INTO triggers (key, object) VALUES (?, ?)", (key, text))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def remove_trigger(db: sqlite3.Connection, number: int) -> None:
    """Marks the Trigger as gone; its dead letters stay, its queue is emptied by `drop_queue`."""
    db.execute("UPDATE triggers SET removed = 1 WHERE id = ?", (number,))


def drop_queue(db: sqlite3.Connection, limit: int) -> int:
    """Deletes up to `limit` pending deliveries of removed Triggers; how many these were."""
    return db.execute(
        "DELETE FROM deliveries WHERE (event, trigger) IN (SELECT d.event, d.trigger FROM triggers t"
        " JOIN deliveries d ON d.trigger = t.id AND d.state IN (0, 2) WHERE t.removed LIMIT ?)",
        (limit,),
    ).rowcount


def configuration(db: sqlite3.Connection) -> tuple[list[dict[str, Any]], list[tuple[int, dict[str, Any]]]]:
    """The Brokers' objects, and the Triggers' with their numbers."""
    brokers = [json.loads(item) for (item,) in db.execute("SELECT object FROM brokers ORDER BY key")]
    triggers = [
        (number, json.loads(item))
        for number, item in db.execute("SELECT id, object FROM triggers WHERE NOT removed ORDER BY id")
    ]
    return brokers, triggers
