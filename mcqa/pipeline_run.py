"""`mcqa pipeline run`: asks the retrain function for a run, and prints what comes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.event_types import SOURCE_CLI
from common.names import CHAMPION
from mcqa import loop, polling, targets, terminal
from mcqa.errors import CommandError, unavailable_as_command_error

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

WAIT = 30.0
"""Seconds: the function may be scaled to zero, and asks the pipeline server before it decides."""
SETTLED_SECONDS = 3.0
"""A request still `waiting` this long after it was stored is not about to start: the function decides immediately."""


def run(
    reason: Annotated[str, typer.Option(help="Why; it is recorded with the run and the version.")],
    wait: polling.WaitOption = WAIT,
    directory: loop.FolderOption = None,
) -> None:
    """Ask the retrain function for a run on the feedback since the champion was trained.

    It starts when no other run is active and the cool-down is over. Exit code 1 when there will be none.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise CommandError("--reason must not be empty")
    target = targets.sink(directory)
    if target.folder:
        terminal.note(targets.describe(target))
    now = time.time()
    with targets.database(target) as database:
        id = _send(str(target.address), reason, now)
        if database is None:
            terminal.out.print(f"asked the loop {targets.describe(target)} for a retraining: {reason}", markup=False)
            terminal.note("the result cannot be seen from here: set MCQA_DATABASE_URL to see it")
            return
        environ = targets.environ(target.folder)
        model, key = _request_key(environ, reason, now, id)
        decided = polling.wait_for(lambda: database(lambda c: _decided(c, key)), wait, "the retrain function")
        row = decided or database(lambda c: _row(c, key))
        why = database(lambda c: _why_waiting(c, environ, model)) if row and row.state == "waiting" else ""
    _report(row, key, id, why)


def _send(sink: str, reason: str, now: float) -> str:
    """The id of the event that was sent."""
    from common.event_types import RETRAINING_REQUESTED
    from functions.sink import Sink, digest, loop_event, traceparent

    id = digest(RETRAINING_REQUESTED, reason, now, os.getpid())
    event = loop_event(RETRAINING_REQUESTED, SOURCE_CLI, id, {"reason": reason}, now, traceparent(id))
    with unavailable_as_command_error(ValueError):
        Sink({"K_SINK": sink}).send(event)
    return id


def _request_key(environ: Mapping[str, str], reason: str, now: float, id: str) -> tuple[str, str]:
    """The model's name, and the key under which the retrain function stores the request."""
    from functions.retrain.decision import read_request
    from functions.retrain.settings import read_settings

    try:
        model = read_settings(environ).model
    except ValueError as error:
        raise CommandError(str(error)) from None
    return model, read_request({"reason": reason}, model, now, f"{SOURCE_CLI} {id}").key


def _row(connection: Connection, key: str) -> Row[Any] | None:
    from functions.retrain import store

    return store.find(connection, key)


def _decided(connection: Connection, key: str) -> Row[Any] | None:
    """The request's row once the function has decided on it."""
    row = _row(connection, key)
    if row is None or row.state == "starting":
        return None
    if row.state == "waiting" and time.time() - row.updated_at < SETTLED_SECONDS:
        return None
    return row


def _why_waiting(connection: Connection, environ: Mapping[str, str], model: str) -> str:
    """Decided as the function itself does; "" where that is not known from here."""
    from common.errors import UnavailableError
    from common.mlflow.registry import ModelRegistry
    from functions.retrain import store
    from functions.retrain.decision import decide
    from functions.retrain.settings import read_settings

    try:
        with ModelRegistry(environ, model) as registry:
            registered = registry.model()
    except (UnavailableError, ValueError) as error:
        return str(error)
    champion = registered.aliases.get(CHAMPION) if registered else None
    action = decide(store.known(connection, model), champion, time.time(), read_settings(environ).cooldown)
    return str(action.reason) if action.kind == "wait" else ""


def _report(row: Row[Any] | None, key: str, id: str, why: str) -> None:
    """CommandError when no run comes of it, or the function has not answered."""
    name = f"retrain-{key[:16]}"
    if row is None:
        raise CommandError(
            "the retrain function has not answered yet: the request waits at the broker and is not lost; "
            "`mcqa logs retrain` shows what the function does, `mcqa pipeline list` the runs"
        )
    if row.drift_id != id:
        terminal.note(f"already requested with this reason, which counts once in its period: {name}")
    if row.state in ("void", "failed", "canceled"):
        raise CommandError(f"{name} {'is not started' if row.state == 'void' else row.state}: {row.error}")
    if row.state in ("waiting", "starting"):
        because = f" because {why}" if why else ""
        terminal.out.print(f"[green]✓[/] {name} is accepted and waits{because}", soft_wrap=True, highlight=False)
        return
    run = f", run {row.run_id}" if row.run_id else ""
    terminal.out.print(f"[green]✓[/] {name} is {row.state}{run}", soft_wrap=True, highlight=False)
    terminal.note("`mcqa pipeline list` shows the runs, `mcqa status` the loop")
