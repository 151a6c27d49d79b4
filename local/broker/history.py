"""What people ask the store: recent events, dead letters, figures; and what of it is forgotten in time."""

from __future__ import annotations

import base64
import json
import math
import sqlite3
from typing import Any

from local.broker.cloudevent import CloudEvent
from local.broker.json_format import write_event
from local.broker.schema import State

MAX_LIMIT = 1000

_DEAD_LETTERS = (
    "SELECT d.event, d.trigger, t.key, d.state, d.attempts, d.status, d.error, d.errors, d.finished, t.removed,"
    " e.id, e.source, e.type, e.broker FROM deliveries d JOIN triggers t ON t.id = d.trigger"
    " JOIN events e ON e.seq = d.event"
)


def events(
    db: sqlite3.Connection,
    *,
    type: str | None = None,
    id: str | None = None,
    source: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """The newest events first, without their payloads; `before` is the last page's smallest seq."""
    wheres: list[str] = ["1"]
    values: list[str | int] = []
    for column, value in (("type", type), ("id", id), ("source", source)):
        if value is not None:
            wheres.append(f"{column} = ?")
            values.append(value)
    if before is not None:
        wheres.append("seq < ?")
        values.append(before)
    rows = db.execute(
        "SELECT seq, broker, arrived, attributes, length(data) FROM events"
        f" WHERE {' AND '.join(wheres)} ORDER BY seq DESC LIMIT ?",
        (*values, min(limit, MAX_LIMIT)),
    ).fetchall()
    return [
        {"seq": seq, "broker": broker, "arrived": arrived, "bytes": size or 0, "attributes": json.loads(attributes)}
        for seq, broker, arrived, attributes, size in rows
    ]


def event(db: sqlite3.Connection, seq: int) -> dict[str, Any] | None:
    """One event in the JSON format, and how far each Trigger's delivery is; None when there is none."""
    row = db.execute("SELECT broker, arrived, attributes, headers, data FROM events WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        return None
    broker, arrived, attributes, headers, data = row
    deliveries = db.execute(
        "SELECT t.key, d.state, d.attempts, d.status, d.error, d.finished FROM deliveries d"
        " JOIN triggers t ON t.id = d.trigger WHERE d.event = ? ORDER BY t.key",
        (seq,),
    ).fetchall()
    return {
        "seq": seq,
        "broker": broker,
        "arrived": arrived,
        "headers": json.loads(headers),
        "event": json.loads(write_event(CloudEvent(json.loads(attributes), data)), parse_float=_finite),
        "deliveries": [
            {
                "trigger": key,
                "state": State(state).name.lower(),
                "attempts": attempts,
                "status": status,
                "error": error,
                "finished": finished,
            }
            for key, state, attempts, status, error, finished in deliveries
        ],
    }


def dead_letters(
    db: sqlite3.Connection, *, trigger: str | None = None, before: int | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """The newest dead letters first, those at the sink too: every one can be replayed."""
    rows = db.execute(
        f"{_DEAD_LETTERS} WHERE d.state IN (2, 3, 4) AND (?1 IS NULL OR t.key = ?1) AND (?2 IS NULL OR d.event < ?2)"
        " ORDER BY d.event DESC, t.key LIMIT ?3",
        (trigger, before, min(limit, MAX_LIMIT)),
    ).fetchall()
    return [_dead_letter(row) for row in rows]


def dead_letter(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """One dead letter with its event; None when there is none of this name."""
    numbers = split_name(name)
    if numbers is None:
        return None
    row = db.execute(
        f"{_DEAD_LETTERS} WHERE d.state IN (2, 3, 4) AND d.event = ? AND d.trigger = ?", numbers
    ).fetchone()
    if row is None:
        return None
    found = event(db, numbers[0])
    assert found is not None
    return _dead_letter(row) | {"event": found["event"], "headers": found["headers"]}


def split_name(name: str) -> tuple[int, int] | None:
    """A dead letter's name is its event's number and its Trigger's: 17-3."""
    event_seq, _, trigger = name.partition("-")
    if all(part.isascii() and part.isdigit() and len(part) < 18 for part in (event_seq, trigger)):
        return int(event_seq), int(trigger)
    return None


def figures(db: sqlite3.Connection) -> dict[str, Any]:
    """Counts of the store: per Trigger what waits (depth), was delivered, retried and given up (failed)."""
    waiting = {
        (trigger, state): count
        for index, condition in (("queues", "state IN (0, 2)"), ("dead_letters", "state IN (2, 3, 4)"))
        for trigger, state, count in db.execute(
            # Without being told, SQLite reads the whole history.
            f"SELECT trigger, state, count(*) FROM deliveries INDEXED BY {index} WHERE {condition}"
            " GROUP BY trigger, state"
        )
    }
    rows = db.execute(
        "SELECT id, key, delivered, retried, failed FROM triggers WHERE NOT removed ORDER BY key"
    ).fetchall()
    (stored,) = db.execute("SELECT count(*) FROM events").fetchone()
    return {
        "events": stored,
        "triggers": [
            {
                "trigger": key,
                "depth": waiting.get((number, State.PENDING), 0),
                "dead_lettering": waiting.get((number, State.DEAD_LETTERING), 0),
                "dead_lettered": waiting.get((number, State.DEAD_LETTERED), 0),
                "dead": waiting.get((number, State.DEAD), 0),
                "delivered": delivered,
                "retried": retried,
                "failed": failed,
            }
            for number, key, delivered, retried, failed in rows
        ],
    }


def prune(db: sqlite3.Connection, *, before: float, dead_before: float, keep: int, limit: int) -> int:
    """Forgets up to `limit` old events with their deliveries; how many.

    Old is what arrived before `before`, or is not among the newest `keep`. Never one that a Trigger still waits for;
    one that is a dead letter only when it arrived before `dead_before`.
    """
    (newest,) = db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    (aged,) = db.execute("SELECT coalesce(max(seq), 0) FROM events WHERE arrived < ?", (before,)).fetchone()
    doomed = [
        seq
        for (seq,) in db.execute(
            "SELECT seq FROM events e WHERE seq <= ? AND NOT EXISTS (SELECT 1 FROM deliveries d"
            " WHERE d.event = e.seq AND (d.state IN (0, 2) OR (d.state IN (3, 4) AND e.arrived >= ?)))"
            " ORDER BY seq LIMIT ?",
            (max(aged, newest - keep), dead_before, limit),
        )
    ]
    db.executemany("DELETE FROM deliveries WHERE event = ?", [(seq,) for seq in doomed])
    db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in doomed])
    return len(doomed)


def _finite(text: str) -> float | str:
    """A number too large for a float (1e400 is JSON) as its text: Infinity is no JSON."""
    value = float(text)
    return value if math.isfinite(value) else text


def _dead_letter(row: tuple[Any, ...]) -> dict[str, Any]:
    seq, number, key, state, attempts, status, error, errors, finished, removed, id, source, type, broker = row
    extensions = json.loads(errors) if errors else {}
    response = base64.b64decode(extensions.get("knativeerrordata", "")).decode("utf-8", "replace")
    return {
        "name": f"{seq}-{number}",
        "trigger": key,
        "trigger_removed": bool(removed),
        "state": State(state).name.lower(),
        "attempts": attempts,
        "status": status,
        "error": error,
        "destination": extensions.get("knativeerrordest"),
        "response": response,
        "failed_at": finished,
        "broker": broker,
        "id": id,
        "source": source,
        "type": type,
    }
