"""What the admin interface reads from the store: an event and its deliveries, dead letters and counts."""

from __future__ import annotations

import base64
import json
import math
import sqlite3
from typing import Any

from local.broker.cloudevent import CloudEvent
from local.broker.extensions import ERROR_DATA, ERROR_DESTINATION
from local.broker.json_format import write_event
from local.broker.schema import DeliveryState
from local.broker.search import MAX_LIMIT

_DEAD_STATES = (DeliveryState.DEAD_LETTERING, DeliveryState.DEAD_LETTERED, DeliveryState.DEAD)
_DEAD_LETTERS = (
    "SELECT d.event, d.trigger, t.key, d.state, d.attempts, d.status, d.error, d.errors, d.finished, t.removed,"
    " e.id, e.source, e.type, e.broker FROM deliveries d JOIN triggers t ON t.id = d.trigger"
    " JOIN events e ON e.seq = d.event"
)


def get_event(db: sqlite3.Connection, seq: int) -> dict[str, Any] | None:
    """One event in the JSON format, with each Trigger's delivery; None if there is no such event.

    `reply_to` is the event that this one replies to, a delivery's `reply` the last that replied to it. A delivery that
    failed for good names its `dead_letter`; `due` is when it is tried again.
    """
    row = db.execute("SELECT broker, arrived, attributes, headers, data FROM events WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        return None
    broker, arrived, attributes, headers, data = row
    deliveries = db.execute(
        "SELECT t.key, d.state, d.attempts, d.sink_attempts, d.status, d.error, d.finished, d.due, t.id,"
        " (SELECT max(reply) FROM replies r WHERE r.event = d.event AND r.trigger = d.trigger)"
        " FROM deliveries d JOIN triggers t ON t.id = d.trigger WHERE d.event = ? ORDER BY t.key",
        (seq,),
    ).fetchall()
    origin = db.execute("SELECT event FROM replies WHERE reply = ?", (seq,)).fetchone()
    return {
        "seq": seq,
        "broker": broker,
        "arrived": arrived,
        "headers": json.loads(headers),
        "event": json.loads(write_event(CloudEvent(json.loads(attributes), data)), parse_float=_finite),
        "reply_to": origin[0] if origin else None,
        "deliveries": [
            {
                "trigger": key,
                "state": DeliveryState(state).name.lower(),
                "attempts": attempts,
                "status": status,
                "error": error,
                "finished": finished,
                "sink_attempts": sink_attempts,
                "due": due or None,
                "reply": reply,
                "dead_letter": f"{seq}-{number}" if state in _DEAD_STATES else None,
            }
            for key, state, attempts, sink_attempts, status, error, finished, due, number, reply in deliveries
        ],
    }


def list_dead_letters(
    db: sqlite3.Connection, *, trigger: str | None = None, before: int | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """The newest dead letters first, including those the sink accepted: every one can be replayed."""
    rows = db.execute(
        f"{_DEAD_LETTERS} WHERE d.state IN (2, 3, 4) AND (?1 IS NULL OR t.key = ?1) AND (?2 IS NULL OR d.event < ?2)"
        " ORDER BY d.event DESC, t.key LIMIT ?3",
        (trigger, before, min(limit, MAX_LIMIT)),
    ).fetchall()
    return [_dead_letter(row) for row in rows]


def get_dead_letter(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """One dead letter with its event; None if there is none with this name."""
    numbers = parse_dead_letter_name(name)
    if numbers is None:
        return None
    row = db.execute(
        f"{_DEAD_LETTERS} WHERE d.state IN (2, 3, 4) AND d.event = ? AND d.trigger = ?", numbers
    ).fetchone()
    if row is None:
        return None
    event = get_event(db, numbers[0])
    assert event is not None
    return _dead_letter(row) | {"event": event["event"], "headers": event["headers"]}


def parse_dead_letter_name(name: str) -> tuple[int, int] | None:
    """A dead letter's name consists of its event's number and its Trigger's: 17-3."""
    event_seq, _, trigger = name.partition("-")
    if all(part.isascii() and part.isdigit() and len(part) < 18 for part in (event_seq, trigger)):
        return int(event_seq), int(trigger)
    return None


def figures(db: sqlite3.Connection) -> dict[str, Any]:
    """The store's counts: per Trigger the queue's depth and how many were delivered, retried and abandoned (failed)."""
    counts = {
        (trigger, state): count
        for index, condition in (("queues", "state IN (0, 2)"), ("dead_letters", "state IN (2, 3, 4)"))
        for trigger, state, count in db.execute(
            # Without the hint SQLite scans the whole table.
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
                "depth": counts.get((number, DeliveryState.PENDING), 0),
                "dead_lettering": counts.get((number, DeliveryState.DEAD_LETTERING), 0),
                "dead_lettered": counts.get((number, DeliveryState.DEAD_LETTERED), 0),
                "dead": counts.get((number, DeliveryState.DEAD), 0),
                "delivered": delivered,
                "retried": retried,
                "failed": failed,
            }
            for number, key, delivered, retried, failed in rows
        ],
    }


def _finite(text: str) -> float | str:
    """A number too large for a float (1e400 is JSON) as a string, because Infinity is not JSON."""
    value = float(text)
    return value if math.isfinite(value) else text


def _dead_letter(row: tuple[Any, ...]) -> dict[str, Any]:
    seq, number, key, state, attempts, status, error, errors, finished, removed, id, source, type, broker = row
    extensions = json.loads(errors) if errors else {}
    response = base64.b64decode(extensions.get(ERROR_DATA, "")).decode("utf-8", "replace")
    return {
        "name": f"{seq}-{number}",
        "trigger": key,
        "trigger_removed": bool(removed),
        "state": DeliveryState(state).name.lower(),
        "attempts": attempts,
        "status": status,
        "error": error,
        "destination": extensions.get(ERROR_DESTINATION),
        "response": response,
        "failed_at": finished,
        "broker": broker,
        "id": id,
        "source": source,
        "type": type,
    }
