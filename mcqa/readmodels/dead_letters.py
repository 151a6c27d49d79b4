"""Dead letters: those that the function dead-letters stored, and those that the broker could not even give to it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from mcqa import broker_client
from mcqa.addresses import FOLDER_VARIABLE
from mcqa.dead_letter_actions import NAME, transact

if TYPE_CHECKING:
    from sqlalchemy import Row


class DeadLetterFacts(TypedDict, total=False):
    """`times` counts arrivals, times are Unix seconds; `first_at` is missing where the broker keeps it."""

    name: str
    state: str
    type: str
    source: str
    id: str
    destination: str
    code: int | None
    reason: str
    times: int
    first_at: float
    last_at: float | None


def name(row: Row[Any]) -> str:
    """By which the verbs refer to a dead letter in the database."""
    return str(row.key)[:NAME]


def is_kept_by_broker(name: str) -> bool:
    """Whether a name is the broker's (`sequence-trigger`) rather than the database's (hex digits)."""
    return "-" in name


def of_row(row: Row[Any]) -> DeadLetterFacts:
    return {
        "name": name(row),
        "state": row.state,
        "type": row.type,
        "source": row.source,
        "id": row.id,
        "destination": row.destination,
        "code": row.code,
        "reason": row.reason,
        "times": row.times,
        "first_at": row.first_at,
        "last_at": row.last_at,
    }


def with_event(row: Row[Any]) -> dict[str, Any]:
    """The facts and the event itself; data that is not JSON is in `data_base64`."""
    data: dict[str, Any] = {"data_base64": base64.b64encode(row.data).decode()}
    with suppress(ValueError, RecursionError):
        data = {"data": json.loads(row.data)}
    return {**of_row(row), "event": {**row.attributes, **data}}


def kept_by_broker(directory: Path | None) -> list[DeadLetterFacts]:
    """What the broker of a loop on this machine could deliver to nobody, not even to the function dead-letters."""
    from mcqa import loop, targets

    if directory is None and targets.environment_names_a_loop():
        return []
    folder = loop.folder(directory)
    if not folder.running():
        return []
    with loop.broker(folder) as broker:
        items = broker_client.get(broker, "/-/dead-letters", {"limit": 1000})["items"]
    return [
        {
            "name": item["name"],
            "state": "open",
            "type": item["type"],
            "source": item["source"],
            "id": item["id"],
            "destination": item["destination"] or item["trigger"],
            "code": item["status"],
            "reason": item["response"] or item["error"] or "",
            "times": item["attempts"],
            "last_at": item["failed_at"],
        }
        for item in items
        if item["state"] == "dead"
    ]


def read(environ: Mapping[str, str], limit: int, *, every: bool = False) -> list[DeadLetterFacts]:
    """The newest in the database, `every`: also those that were replayed or discarded; those that the broker of a loop
    on this machine keeps follow. UnavailableError, SettingError; CommandError where that broker does not answer."""
    from functions.database import connect
    from functions.dead_letters import store

    engine = connect(environ)
    try:
        rows = transact(engine, partial(store.summaries, state=None if every else "open", limit=limit))
    finally:
        engine.dispose()
    folder = environ.get(FOLDER_VARIABLE)
    return [*map(of_row, rows), *(kept_by_broker(Path(folder)) if folder else ())]


def find(environ: Mapping[str, str], name: str) -> dict[str, Any] | None:
    """One of the database's, with its event; None where there is no such dead letter."""
    from functions.database import connect
    from functions.dead_letters import store

    engine = connect(environ)
    try:
        row = transact(engine, partial(store.find, key=name.lower()))
    finally:
        engine.dispose()
    return None if row is None else with_event(row)
