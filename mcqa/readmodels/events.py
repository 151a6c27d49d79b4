"""The events that went through the broker of a loop on this machine. A cluster's broker keeps no history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from common.trace_context import trace_id
from mcqa import broker_client
from mcqa.addresses import FOLDER_VARIABLE
from mcqa.errors import CommandError, LoopNotRunningError

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

TIMEOUT = 3.0
SEARCH_SECONDS = 1.0
"""How long a search for text goes on; the broker answers each of its requests in a twentieth of that."""

History = Literal["here", "cluster", "loop-down", "broker-down"]
"""Whether there is a history to read: `cluster`: the broker keeps none; otherwise what does not run."""


class BrokerEvent(TypedDict):
    """An event as the broker lists it: its number, when it arrived in Unix seconds, its CloudEvents attributes."""

    seq: int
    arrived: float
    bytes: int
    attributes: dict[str, Any]


class EventSearch(TypedDict):
    """`events`, the newest first; with `before` the search goes on, None: there is nothing further. `detail` is what
    the broker or the loop said, where `history` is not "here"."""

    history: History
    detail: str
    events: list[BrokerEvent]
    before: int | None


class EventDetail(TypedDict):
    """`event` as the broker has it, with its deliveries; None where it has none of this number (any more)."""

    history: History
    detail: str
    event: dict[str, Any] | None


def recent(broker: httpx2.Client, limit: int, **wanted: str | None) -> list[BrokerEvent]:
    """The last events, the newest last; `wanted`: type, trace and text, as far as they are given."""
    return list(reversed(_found(broker, limit, None, wanted)[0]))


def with_deliveries(broker: httpx2.Client, number: int) -> dict[str, Any]:
    """One event with its data and what became of each delivery."""
    event: dict[str, Any] = broker_client.get(broker, f"/-/events/{number}")
    return event


def search(
    environ: Mapping[str, str],
    *,
    type: str | None = None,
    trace: str | None = None,
    text: str | None = None,
    without: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> EventSearch:
    """Events of the loop in MCQA_LOCAL_DIR. `trace`: in any form that has an id, else nothing is found.

    `without` is a type that is left out.
    """
    nothing: tuple[list[BrokerEvent], int | None] = ([], None)
    if trace and trace_id(trace) is None:
        return {"history": _history(environ), "detail": "", "events": [], "before": None}
    wanted = {"type": type, "trace": trace and trace_id(trace), "text": text, "not_type": without}
    history, detail, found = _ask(environ, lambda broker: _found(broker, limit, before, wanted))
    events, further = found or nothing
    return {"history": history, "detail": detail, "events": events, "before": further}


def event(environ: Mapping[str, str], number: int) -> EventDetail:
    def ask(broker: httpx2.Client) -> dict[str, Any] | None:
        response = broker.get(f"/-/events/{number}")
        return None if response.status_code == 404 else dict(broker_client.read(response))

    history, detail, found = _ask(environ, ask)
    return {"history": history, "detail": detail, "event": found}


def replay_kept(environ: Mapping[str, str], name: str) -> bool:
    """Queues a dead letter that the broker keeps (`sequence-trigger`) again; False where it has none of this name."""

    def ask(broker: httpx2.Client) -> bool:
        response = broker.post(f"/-/dead-letters/{name}/replay")
        return response.status_code != 404 and bool(broker_client.read(response))

    return bool(_ask(environ, ask)[2])


def _found(
    broker: httpx2.Client, limit: int, before: int | None, wanted: Mapping[str, str | None]
) -> tuple[list[BrokerEvent], int | None]:
    """Up to `limit` events, and where the search goes on: the broker looks through part of its events at a time."""
    given = {name: value for name, value in wanted.items() if value}
    events: list[BrokerEvent] = []
    deadline = time.monotonic() + SEARCH_SECONDS
    while True:
        query = {**given, "limit": limit - len(events), **({} if before is None else {"before": before})}
        page = broker_client.get(broker, "/-/events", query)
        events += page["items"]
        before = page.get("before")
        if before is None or len(events) >= limit or time.monotonic() > deadline:
            return events, before


def _history(environ: Mapping[str, str]) -> History:
    return "here" if environ.get(FOLDER_VARIABLE) else "cluster"


def _ask(environ: Mapping[str, str], question: Callable[[httpx2.Client], T]) -> tuple[History, str, T | None]:
    """The broker's answer, or why there is none."""
    import httpx2

    if _history(environ) == "cluster":
        return "cluster", "", None
    try:
        with _broker(environ) as broker:
            return "here", "", question(broker)
    except LoopNotRunningError as error:
        return "loop-down", str(error), None
    except (CommandError, httpx2.HTTPError) as error:
        return "broker-down", str(error) or error.__class__.__name__, None


@contextmanager
def _broker(environ: Mapping[str, str]) -> Iterator[httpx2.Client]:
    with broker_client.connect(Path(environ[FOLDER_VARIABLE]), announce=False, timeout=TIMEOUT) as broker:
        yield broker
