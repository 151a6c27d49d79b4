"""`mcqa pipeline run`: asks the retrain function for a run, and prints what it makes of that."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.event_types import SOURCE_CLI
from common.names import CHAMPION
from mcqa import loop, terminal, waiting
from mcqa.errors import CommandError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

WAIT = 30.0
"""Seconds: the function may have been scaled to zero, and asks the pipeline server before it answers."""
SETTLED = 3.0
"""A request still `waiting` so long after it was noted is not about to start: the function decides at once."""


def run(
    reason: Annotated[str, typer.Option(help="Why; it is noted with the run and the version.")],
    wait: waiting.WaitOption = WAIT,
    directory: loop.FolderOption = None,
) -> None:
    """Ask the retrain function for a run on the feedback since the champion was made.

    It starts when no other run is active and the cool-down is over. Exit code 1 when there will be none.
    """
    from common.errors import UnavailableError
    from common.event_types import RETRAINING_REQUESTED
    from functions.retrain.decision import read_request
    from functions.retrain.look import settings
    from functions.sink import Sink, digest, loop_event, traceparent

    reason = " ".join(reason.split())
    if not reason:
        raise CommandError("--reason must not be empty")
    target = loop.sink(directory)
    if target.folder:
        terminal.note(loop.describe(target))
    now = time.time()
    id = digest(RETRAINING_REQUESTED, reason, now, os.getpid())
    event = loop_event(RETRAINING_REQUESTED, SOURCE_CLI, id, {"reason": reason}, now, traceparent(id))
    with loop.database(target) as database:
        try:
            Sink({"K_SINK": str(target.address)}).send(event)
        except (UnavailableError, ValueError) as error:
            raise CommandError(str(error)) from None
        if database is None:
            terminal.out.print(f"asked {loop.describe(target)} for a retraining: {reason}", markup=False)
            terminal.note("what comes of it is not known here: set MCQA_DATABASE_URL to see it")
            return
        environ = loop.environ(target.folder)
        try:
            model = settings(environ).model
        except ValueError as error:
            raise CommandError(str(error)) from None
        key = read_request({"reason": reason}, model, now, f"{SOURCE_CLI} {id}").key
        found = waiting.until(lambda: database(lambda c: _answered(c, key)), wait, "the retrain function") or database(
            lambda c: _row(c, key)
        )
        why = database(lambda c: _why_waiting(c, environ, model)) if found and found.state == "waiting" else ""
    _tell(found, key, id, why)


def _row(connection: Connection, key: str) -> Row[Any] | None:
    from functions.retrain import store

    return store.find(connection, key)


def _answered(connection: Connection, key: str) -> Row[Any] | None:
    """The request's row once the function has decided on it."""
    row = _row(connection, key)
    if row is None or row.state == "starting" or (row.state == "waiting" and time.time() - row.updated_at < SETTLED):
        return None
    return row


def _why_waiting(connection: Connection, environ: Mapping[str, str], model: str) -> str:
    """As the function itself decides it; "" where that cannot be said from here."""
    from common.errors import UnavailableError
    from common.mlflow.registry import ModelRegistry
    from functions.retrain import store
    from functions.retrain.decision import decide
    from functions.retrain.look import settings

    try:
        with ModelRegistry(environ, model) as registry:
            found = registry.model()
    except (UnavailableError, ValueError) as error:
        return str(error)
    champion = found.aliases.get(CHAMPION) if found else None
    action = decide(store.known(connection, model), champion, time.time(), settings(environ).cooldown)
    return action.reason if action.kind == "wait" else ""


def _tell(row: Row[Any] | None, key: str, id: str, why: str) -> None:
    """CommandError when no run comes of it, or nobody has answered."""
    name = f"retrain-{key[:16]}"
    if row is None:
        raise CommandError(
            "the retrain function has not answered yet: the request waits at the broker and is not lost; "
            "`mcqa logs retrain` shows what the function does, `mcqa pipeline list` the runs"
        )
    if row.drift_id != id:
        terminal.note(f"asked for already with this reason, which counts once in its period: {name}")
    if row.state in ("void", "failed", "canceled"):
        raise CommandError(f"{name} {'is not started' if row.state == 'void' else row.state}: {row.error}")
    if row.state in ("waiting", "starting"):
        because = f" because {why}" if why else ""
        terminal.out.print(f"[green]✓[/] {name} is noted and waits{because}", soft_wrap=True, highlight=False)
        return
    run = f", run {row.run_id}" if row.run_id else ""
    terminal.out.print(f"[green]✓[/] {name} is {row.state}{run}", soft_wrap=True, highlight=False)
    terminal.note("`mcqa pipeline list` shows the runs, `mcqa status` what comes of them")
