"""Finding events in the store: by type, id and trace on an index; by source and text in what that leaves.

The broker's event loop waits meanwhile, so a search that no index narrows stops after SECONDS and says where: its
caller continues from there.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from common.trace_context import request_id
from local.broker.schema import HAS_TRACE, TRACE

MAX_LIMIT = 1000
SECONDS = 0.05
CANDIDATES = 2000
"""Events of one trace that one search looks at: whoever sends can put any number into the same trace."""

_COLUMNS = "seq, broker, arrived, attributes, length(data), source"


@dataclass(frozen=True, slots=True)
class EventQuery:
    """`trace`: a trace id in hex; its events carry it in their traceparent, or as their id in the form of a UUID.

    `text` is in a value of an attribute or in the data, whatever its case, that of letters beyond ASCII excepted; data
    that is compressed is not searched. `before` is the smallest seq of the page before.
    """

    type: str | None = None
    not_type: str | None = None
    id: str | None = None
    source: str | None = None
    trace: str | None = None
    text: str | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events without payloads, the newest first. `before` continues the search; None: there is nothing further."""

    items: list[dict[str, Any]]
    before: int | None


def find_events(db: sqlite3.Connection, query: EventQuery, seconds: float = SECONDS) -> EventPage:
    """The newest events that match. Where the time is up, there may be fewer than `limit`, and `before` is not None."""
    matches = _contains(query.text) if query.text else None
    limit, deadline, seen, seq = min(query.limit, MAX_LIMIT), time.monotonic() + seconds, 0, None
    items: list[dict[str, Any]] = []
    for row in _candidates(db, query):
        seen += 1
        seq, broker, arrived, text, size, source, data = row
        attributes = json.loads(text)
        wanted = query.source in (None, source) and attributes.get("type") != query.not_type
        if wanted and (matches is None or matches(attributes, data)):
            items.append(
                {"seq": seq, "broker": broker, "arrived": arrived, "bytes": size or 0, "attributes": attributes}
            )
        if len(items) == limit or time.monotonic() > deadline:
            return EventPage(items, seq)
    return EventPage(items, seq if query.trace is not None and seen >= CANDIDATES else None)


def _candidates(db: sqlite3.Connection, query: EventQuery) -> Iterator[tuple[Any, ...]]:
    conditions, values = ["1"], list[str | int]()
    for column, value in (("type", query.type), ("id", query.id)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if query.trace is not None:
        older = "" if query.before is None else f" AND seq < {int(query.before)}"
        newest = f"{older} ORDER BY seq DESC LIMIT {CANDIDATES}"
        conditions.append(
            f"seq IN (SELECT * FROM (SELECT seq FROM events WHERE {HAS_TRACE} AND {TRACE} = ?{newest})"
            f" UNION SELECT * FROM (SELECT seq FROM events WHERE id IN (?, ?){newest}))"
        )
        values += [query.trace, query.trace, request_id(query.trace)]
    if query.before is not None:
        conditions.append("seq < ?")
        values.append(query.before)
    data = "data" if query.text else "NULL"
    yield from db.execute(
        f"SELECT {_COLUMNS}, {data} FROM events WHERE {' AND '.join(conditions)} ORDER BY seq DESC", values
    )


def _contains(text: str) -> Callable[[dict[str, Any], bytes | None], bool]:
    wanted = text.lower()
    # JSON may write what is not ASCII as \u escapes, or not.
    raw = {text.encode("utf-8", "replace").lower(), json.dumps(text)[1:-1].encode().lower()}

    def matches(attributes: dict[str, Any], data: bytes | None) -> bool:
        if any(wanted in str(value).lower() for value in attributes.values()):
            return True
        lowered = (data or b"").lower()
        return any(part in lowered for part in raw)

    return matches
