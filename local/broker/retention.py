"""Which stored events and deliveries are deleted: old ones, and those of removed Triggers."""

from __future__ import annotations

import sqlite3


def prune(db: sqlite3.Connection, *, before: float, dead_before: float, keep: int, limit: int) -> int:
    """Deletes up to `limit` old events with their deliveries; returns how many.

    An event is old if it arrived before `before` or is not among the newest `keep`. Events still queued for a Trigger
    are never deleted; dead letters only if they arrived before `dead_before`.
    """
    (newest,) = db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    (aged,) = db.execute("SELECT coalesce(max(seq), 0) FROM events WHERE arrived < ?", (before,)).fetchone()
    expired = [
        seq
        for (seq,) in db.execute(
            "SELECT seq FROM events e WHERE seq <= ? AND NOT EXISTS (SELECT 1 FROM deliveries d"
            " WHERE d.event = e.seq AND (d.state IN (0, 2) OR (d.state IN (3, 4) AND e.arrived >= ?)))"
            " ORDER BY seq LIMIT ?",
            (max(aged, newest - keep), dead_before, limit),
        )
    ]
    db.executemany("DELETE FROM replies WHERE reply = ?1 OR event = ?1", [(seq,) for seq in expired])
    db.executemany("DELETE FROM deliveries WHERE event = ?", [(seq,) for seq in expired])
    db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in expired])
    return len(expired)


def delete_abandoned(db: sqlite3.Connection, limit: int) -> int:
    """Deletes up to `limit` queued deliveries of removed Triggers; returns how many."""
    return db.execute(
        "DELETE FROM deliveries WHERE (event, trigger) IN (SELECT d.event, d.trigger FROM triggers t"
        " JOIN deliveries d ON d.trigger = t.id AND d.state IN (0, 2) WHERE t.removed LIMIT ?)",
        (limit,),
    ).rowcount
