"""Searching the store, and what it costs with as many events as it keeps."""

from __future__ import annotations

import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from local.broker import queries, retention
from local.broker.cloudevent import CloudEvent
from local.broker.schema import connect, create
from local.broker.search import EventQuery, find_events

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    db = connect(str(tmp_path / "broker.db"))
    create(db)
    return db


def add(db: sqlite3.Connection, id: str, data: bytes = b"{}", type: str = "t", **more: Any) -> int:
    event = CloudEvent({"specversion": "1.0", "id": id, "source": "/test", "type": type, **more}, data)
    return queries.insert_event(db, "default/default", event, {}, 1.0, [])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["5", "4", "3", "2", "1"]),
        ({"type": "odd"}, ["5", "3", "1"]),
        ({"type": "odd", "before": 5}, ["3", "1"]),
        ({"not_type": "odd"}, ["4", "2"]),
        ({"not_type": "odd", "text": "needle"}, ["2"]),
        ({"source": "/elsewhere"}, ["4"]),
        ({"text": "NEEDLE"}, ["5", "2"]),
        ({"text": "Tiếng"}, ["4", "3"]),
        ({"text": "needle", "type": "odd"}, ["5"]),
        ({"text": "%"}, []),
        ({"id": "2"}, ["2"]),
        ({"limit": 2}, ["5", "4"]),
    ],
)
def test_events_are_found(db: sqlite3.Connection, query: dict[str, Any], found: list[str]) -> None:
    add(db, "1", type="odd")
    add(db, "2", b'{"a": "a Needle"}')
    add(db, "3", b'{"a": "Ti\\u1ebfng"}', type="odd")
    add(db, "4", '{"a": "Tiếng"}'.encode(), source="/elsewhere")
    add(db, "5", b"\xff\x00", type="odd", subject="in a needle's eye")
    page = find_events(db, EventQuery(**query))
    assert [item["attributes"]["id"] for item in page.items] == found
    assert page.before == (4 if "limit" in query else None)


def test_a_trace_is_in_the_traceparent_or_is_the_id(db: sqlite3.Connection) -> None:
    add(db, str(uuid.UUID(TRACE)), type="request")
    add(db, "feedback", traceparent=PARENT)
    add(db, "other", traceparent=PARENT.replace("0af7", "0af8"))
    add(db, "none", traceparent=7)
    page = find_events(db, EventQuery(trace=TRACE))
    assert [item["attributes"]["id"] for item in page.items] == ["feedback", str(uuid.UUID(TRACE))]


def test_a_search_stops_in_time_and_continues(db: sqlite3.Connection) -> None:
    for n in range(10):
        add(db, str(n), b"needle" if n == 0 else b"")
    query, looked = EventQuery(text="needle"), 0
    while not (page := find_events(db, query, seconds=0.0)).items:
        query, looked = EventQuery(text="needle", before=page.before), looked + 1
    assert (looked, page.items[0]["attributes"]["id"]) == (9, "0")


def test_an_older_broker_s_database_gets_the_index(tmp_path: Path, db: sqlite3.Connection) -> None:
    db.executescript("DROP INDEX events_by_trace; DROP TABLE replies;")
    add(db, "old", traceparent=PARENT)
    again = connect(str(tmp_path / "broker.db"))
    create(again)
    assert len(find_events(again, EventQuery(trace=TRACE)).items) == 1
    (plan,) = (
        " ".join(str(row[3]) for row in again.execute("EXPLAIN QUERY PLAN " + text, values))
        for text, values in [recorded(again, EventQuery(trace=TRACE))]
    )
    assert "events_by_trace" in plan
    assert "SCAN events" not in plan


def recorded(db: sqlite3.Connection, query: EventQuery) -> tuple[str, list[Any]]:
    """The statement that a search executes."""
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    find_events(db, query)
    db.set_trace_callback(None)
    return next(text for text in statements if text.startswith("SELECT seq")), []


def test_replies_go_with_their_events(db: sqlite3.Connection) -> None:
    first, reply = add(db, "1"), add(db, "2")
    queries.record_reply(db, first, 1, reply)
    assert retention.prune(db, before=2.0, dead_before=0.0, keep=100, limit=10) == 2
    assert db.execute("SELECT count(*) FROM replies").fetchone() == (0,)


def test_the_indices_hold_with_many_events(db: sqlite3.Connection) -> None:
    db.execute("BEGIN")
    for n in range(20_000):
        add(db, str(n), b"x" * 500, type="common", traceparent=f"00-{n:032x}-b7ad6b7169203331-01")
    add(db, "rare", type="rare")
    db.execute("COMMIT")
    for query in (EventQuery(type="rare"), EventQuery(trace=f"{7:032x}"), EventQuery(limit=50)):
        began = time.process_time()
        assert find_events(db, query).items
        assert time.process_time() - began < 0.02, query
