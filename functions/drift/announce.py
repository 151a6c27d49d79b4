"""The events of a stored check, and sending them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, Row

from common.event_types import DRIFT_CHECKED, DRIFT_DETECTED, SOURCE_DRIFT
from functions.database import transaction
from functions.drift.store import mark_sent, unsent
from functions.events import Event
from functions.sink import digest, loop_event


def events_of(row: Row[Any]) -> list[Event]:
    """The check, and the alarm where it raised one. The same row gives the same ids.

    No incident in addition: notify reports the drift itself, and would notify people twice.
    """
    types = [DRIFT_CHECKED, *([DRIFT_DETECTED] if row.alarm else [])]
    return [
        loop_event(type, SOURCE_DRIFT, event_id(type, row), row.document, row.checked_at, row.traceparent)
        for type in types
    ]


def event_id(type: str, row: Any) -> str:
    """The id of a check's event of this type. `row` has at least the columns that it is made of."""
    return digest(type, row.model, row.version, row.window_start, row.window_end, row.sequence)


def announce(engine: Engine, model: str, send: Callable[[Event], None], now: float) -> int:
    """Sends what is not sent yet, oldest first; how many checks. UnavailableError leaves the rest for the next check.

    After a crash between sending and storing that, the same events are sent again; receivers recognise their ids.
    """
    with transaction(engine) as connection:
        waiting = unsent(connection, model)
    for row in waiting:
        for event in events_of(row):
            send(event)
        with transaction(engine) as connection:
            mark_sent(connection, model, row.sequence, now)
    return len(waiting)
