"""Replaying and discarding dead letters: what the verb and the page do, through the Broker and the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from common.environment import text
from common.names import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine, Row

    from functions.dead_letters.decision_log import Action
    from functions.events import Event
    from functions.sink import Sink

T = TypeVar("T")
NAME = 12
"""Hex digits of a dead letter's key that are shown, as in its function's log; fewer will do where they are unique."""

Outcome = Literal["sent", "already-replayed", "discarded", "already-discarded", "changed", "unknown"]
"""What became of one: sent again; discarded; it was so already; `changed`: it came back meanwhile, nothing was done;
there is no such dead letter."""


def transact(engine: Engine, query: Callable[[Connection], T]) -> T:
    from functions.database import transaction

    with transaction(engine) as connection:
        return query(connection)


def note(
    environ: Mapping[str, str], engine: Engine, action: Action, letters: Sequence[tuple[str, str]], by: str
) -> None:
    """In the decision log: who does this with these letters, each its name and its event's type. Before it is done."""
    from functions.dead_letters import decision_log

    model = text(environ, "MCQA_REGISTERED_MODEL", MODEL)
    if letters:
        transact(engine, lambda connection: decision_log.note(connection, model, action, letters, by, time.time()))


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
        sink = Sink(environ)
        if row.state != "replayed":
            note(environ, engine, "replay", [(name, row.type)], by)
        return replay(engine, sink, row), row.times


def discard_by_name(environ: Mapping[str, str], name: str, by: str) -> Outcome:
    with _found(environ, name) as (engine, row):
        if row is None:
            return "unknown"
        if row.state == "open":
            note(environ, engine, "discard", [(name, row.type)], by)
        return discard(engine, row)


def replay_every(environ: Mapping[str, str], names: Sequence[str], by: str) -> int:
    """Those of the names that are open, noted once; how many there were. UnavailableError, SettingError."""
    from functions.database import connect
    from functions.dead_letters import store
    from functions.sink import Sink

    engine = connect(environ)
    try:
        found = [transact(engine, partial(store.find, key=name.lower())) for name in names]
        due = [row for row in found if row is not None and row.state == "open"]
        sink = Sink(environ)
        note(environ, engine, "replay", [(row.key[:NAME], row.type) for row in due], by)
        for row in due:
            replay(engine, sink, row)
    finally:
        engine.dispose()
    return len(due)


def replay_kept(environ: Mapping[str, str], letters: Sequence[tuple[str, str]], by: str) -> int:
    """Those that the broker of a loop on this machine keeps, by name and type: how many it still had."""
    from functions.database import connect
    from mcqa.readmodels import events

    engine = connect(environ)
    try:
        note(environ, engine, "replay", letters, by)
    finally:
        engine.dispose()
    return sum(events.replay_kept(environ, name) for name, _ in letters)


@contextmanager
def _found(environ: Mapping[str, str], name: str) -> Iterator[tuple[Engine, Row[Any] | None]]:
    from functions.database import connect
    from functions.dead_letters import store

    engine = connect(environ)
    try:
        yield engine, transact(engine, partial(store.find, key=name.lower()))
    finally:
        engine.dispose()
