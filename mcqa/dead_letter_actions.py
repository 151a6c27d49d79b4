"""Replaying and discarding dead letters: what the verb and the page do, through the Broker and the database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine, Row

    from functions.events import Event
    from functions.sink import Sink

T = TypeVar("T")
log = logging.getLogger("mcqa")

Outcome = Literal["sent", "already-replayed", "discarded", "already-discarded", "changed", "unknown"]
"""What became of one: sent again; discarded; it was so already; `changed`: it came back meanwhile, nothing was done;
there is no such dead letter."""


def transact(engine: Engine, query: Callable[[Connection], T]) -> T:
    from functions.database import transaction

    with transaction(engine) as connection:
        return query(connection)


def replay(engine: Engine, sink: Sink, row: Row[Any]) -> Outcome:
    """Sends the event again, to everyone who gets such events; UnavailableError where the broker does not take it."""
    from functions.dead_letters import store

    if row.state == "replayed":
        return "already-replayed"
    sink.send(event_of(row))
    # Refused again, it may already be open again: that must stay.
    transact(engine, partial(store.mark, key=row.key, state="replayed", times=row.times))
    return "sent"


def discard(engine: Engine, row: Row[Any]) -> Outcome:
    """Marks it; it stays in the database until retention ends."""
    from functions.dead_letters import store

    if row.state != "open":
        return "already-discarded" if row.state == "discarded" else "already-replayed"
    done = transact(engine, partial(store.mark, key=row.key, state="discarded", times=row.times))
    return "discarded" if done else "changed"


def event_of(row: Row[Any]) -> Event:
    """The event as it was sent."""
    from functions.events import Event

    attributes = dict(row.attributes)
    attributes.pop("specversion", None)
    known = {name: attributes.pop(name) for name in ("time", "subject", "datacontenttype") if name in attributes}
    own = {name: attributes.pop(name, getattr(row, name)) for name in ("id", "source", "type")}
    return Event(**own, **known, extensions=attributes, data=row.data)


def replay_by_name(environ: Mapping[str, str], name: str, by: str) -> tuple[Outcome, int]:
    """`replay` for the page, which has a name, and how often it had arrived before. UnavailableError, SettingError."""
    from functions.sink import Sink

    with _found(environ, name) as (engine, row):
        if row is None:
            return "unknown", 0
        outcome = replay(engine, Sink(environ), row)
        log.info("%s replayed by %s: %s", name, by, outcome)
        return outcome, row.times


def discard_by_name(environ: Mapping[str, str], name: str, by: str) -> Outcome:
    with _found(environ, name) as (engine, row):
        if row is None:
            return "unknown"
        outcome = discard(engine, row)
        log.info("%s discarded by %s: %s", name, by, outcome)
        return outcome


@contextmanager
def _found(environ: Mapping[str, str], name: str) -> Iterator[tuple[Engine, Row[Any] | None]]:
    from functions.database import connect
    from functions.dead_letters import store

    engine = connect(environ)
    try:
        yield engine, transact(engine, partial(store.find, key=name.lower()))
    finally:
        engine.dispose()
