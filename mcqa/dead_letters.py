"""`mcqa dead-letters`: events that a function could not use, in the loop's database on a laptop and on a cluster.

On a laptop, the broker keeps what not even the function dead-letters took; that is listed and replayed here as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from mcqa import broker_client, dead_letter_actions, polling, targets, terminal
from mcqa.dead_letter_actions import transact
from mcqa.errors import CommandError, unavailable_as_command_error
from mcqa.events import JsonOption
from mcqa.loop import FolderOption
from mcqa.readmodels import dead_letters as facts
from mcqa.readmodels.dead_letters import DeadLetterFacts
from mcqa.user import user

if TYPE_CHECKING:
    from sqlalchemy import Engine, Row


dead_letters_app = typer.Typer(
    no_args_is_help=True, help="Events that a function could not use, or that no retry could deliver."
)

WAIT = 5.0
"""Seconds: a function that still refuses an event does so immediately; an unavailable one is retried for minutes."""

NamesArgument = Annotated[list[str] | None, typer.Argument(help="As `list` prints them.", metavar="NAME")]


@dead_letters_app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Most to show.")] = 50,
    every: Annotated[bool, typer.Option("--all", help="Also those that were replayed or discarded.")] = False,
    as_json: JsonOption = False,
    directory: FolderOption = None,
) -> None:
    """List dead letters, the newest first: which event, who refused it, why."""
    from functions.dead_letters import store

    with _database(directory) as engine:
        rows = transact(engine, lambda connection: store.summaries(connection, None if every else "open", limit))
    letters = [*(facts.of_row(row) for row in rows), *facts.kept_by_broker(directory)]
    if as_json:
        for letter in letters:
            terminal.json_line(letter)
        return
    targets.announce(directory)
    if not letters:
        terminal.note("no dead letters")
        return
    for letter in letters:
        _print(letter, every)
    terminal.note(
        "`mcqa dead-letters show NAME` shows the event, `replay NAME` sends it again, `discard NAME` drops it"
    )


@dead_letters_app.command()
def show(
    name: Annotated[str, typer.Argument(help="As `list` prints it.")],
    directory: FolderOption = None,
) -> None:
    """Show a dead letter with its event, as JSON."""
    if facts.is_kept_by_broker(name):
        with broker_client.connect(directory, announce=False) as broker:
            terminal.json_line(broker_client.get(broker, f"/-/dead-letters/{name}"), indent=2)
        return
    with _database(directory) as engine:
        row = _find(engine, name)
    terminal.json_line(facts.with_event(row), indent=2)


@dead_letters_app.command()
def replay(
    names: NamesArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    wait: polling.WaitOption = WAIT,
    directory: FolderOption = None,
) -> None:
    """Send dead letters to the broker again.

    A function that has already used such an event recognises it and does nothing. One that was replayed before is
    left alone unless it has come back since.
    """
    stored, in_broker = _selected(names, everything, directory)
    with _database(directory) as engine:
        rows = [_find(engine, name) for name in stored] if names else _open(engine)
        for row in rows:
            if row.state == "replayed":
                terminal.out.print(f"{facts.name(row)} was already replayed, and has not come back", highlight=False)
        due = [row for row in rows if row.state != "replayed"]
        kinds = {letter["name"]: letter["type"] for letter in facts.kept_by_broker(directory)} if in_broker else {}
        letters = [*_named(due), *((name, kinds.get(name, "")) for name in in_broker)]
        dead_letter_actions.note(targets.environ(directory), engine, "replay", letters, user())
        _send(engine, due, directory)
        _requeue(in_broker, directory)
        _require_not_returned(engine, due, wait)


@dead_letters_app.command()
def discard(
    names: NamesArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    directory: FolderOption = None,
) -> None:
    """Give up dead letters. They stay in the database, marked as discarded, until its retention ends."""
    stored, in_broker = _selected(names, everything, directory)
    if in_broker and names:
        raise CommandError(f"{in_broker[0]} is still with the broker: replay it; if refused again it can be discarded")
    with _database(directory) as engine:
        rows = [_find(engine, name) for name in stored] if names else _open(engine)
        letters = _named([row for row in rows if row.state == "open"])
        dead_letter_actions.note(targets.environ(directory), engine, "discard", letters, user())
        for row in rows:
            name = facts.name(row)
            outcome = dead_letter_actions.discard(engine, row)
            if outcome == "discarded":
                terminal.out.print(f"[green]✓[/] {name} is discarded: {row.type}", soft_wrap=True)
            elif outcome == "changed":
                raise CommandError(f"{name} came back just now: look at it again")
            else:
                terminal.out.print(f"{name} was already {row.state}: nothing to discard", highlight=False)
    if in_broker:
        terminal.note(f"{len(in_broker)} are still with the broker: `mcqa dead-letters replay --all` tries them again")


def _named(rows: Sequence[Row[Any]]) -> list[tuple[str, str]]:
    return [(facts.name(row), row.type) for row in rows]


def _selected(names: Sequence[str] | None, everything: bool, directory: Path | None) -> tuple[list[str], list[str]]:
    """The names in the database and those that the broker keeps; each once."""
    if bool(names) == everything:
        raise typer.BadParameter("give names, or --all", param_hint="NAME")
    if everything:
        return [], [letter["name"] for letter in facts.kept_by_broker(directory)]
    unique = list(dict.fromkeys(names or ()))
    return (
        [name for name in unique if not facts.is_kept_by_broker(name)],
        [name for name in unique if facts.is_kept_by_broker(name)],
    )


def _send(engine: Engine, rows: Sequence[Row[Any]], directory: Path | None) -> None:
    from common.errors import UnavailableError
    from functions.sink import Sink

    if not rows:
        return
    sink = Sink({"K_SINK": str(targets.sink(directory).address)})
    for row in rows:
        try:
            dead_letter_actions.replay(engine, sink, row)
        except UnavailableError as error:
            raise CommandError(f"{facts.name(row)} was not replayed: {error}") from None
        terminal.out.print(f"[green]✓[/] {facts.name(row)} was sent again: {row.type}", soft_wrap=True)


def _requeue(names: Sequence[str], directory: Path | None) -> None:
    if not names:
        return
    with broker_client.connect(directory) as broker:
        for name in names:
            broker_client.post(broker, f"/-/dead-letters/{name}/replay")
            terminal.out.print(f"[green]✓[/] {name} is queued at the broker again", soft_wrap=True)


def _require_not_returned(engine: Engine, sent: Sequence[Row[Any]], wait: float) -> None:
    """CommandError that names those that were refused again within `wait` seconds."""
    from functions.dead_letters import store

    if not sent:
        return
    times_before = {row.key: row.times for row in sent}

    def returned() -> list[Row[Any]]:
        rows = [transact(engine, partial(store.find, key=key)) for key in times_before]
        return [row for row in rows if row is not None and row.times > times_before[row.key]]

    polling.wait_for(lambda: len(returned()) == len(sent) or None, wait, "events to come back")
    if rows := returned():
        raise CommandError(
            f"{len(rows)} of {len(sent)} came back",
            [f"{facts.name(row)}: {row.code or ''} {row.reason}" for row in rows],
        )
    terminal.note("one that is refused later is open again: `mcqa dead-letters list`")


def _find(engine: Engine, name: str) -> Row[Any]:
    from functions.dead_letters import store

    row: Row[Any] | None = transact(engine, lambda connection: store.find(connection, name.lower()))
    if row is None:
        raise CommandError(f"there is no dead letter {name!r}, or more than one: see `mcqa dead-letters list --all`")
    return row


def _open(engine: Engine) -> list[Row[Any]]:
    from functions.dead_letters import store

    return list(transact(engine, lambda connection: store.letters(connection, "open", 100_000)))


@contextmanager
def _database(directory: Path | None) -> Iterator[Engine]:
    from functions.database import connect

    with unavailable_as_command_error():
        engine = connect(targets.environ(directory))
        try:
            yield engine
        finally:
            engine.dispose()


def _print(letter: DeadLetterFacts, with_state: bool) -> None:
    """The first line says what, those below why: in 60 columns a table of such long words would be unreadable."""
    when = datetime.fromtimestamp(letter["last_at"] or time.time()).strftime("%Y-%m-%d %H:%M:%S")
    times = f"  {letter['times']} times" if letter["times"] > 1 else ""
    head = f"{when}{times}{'  ' + letter['state'] if with_state else ''}"
    terminal.out.print(f"[cyan]{letter['name']}[/]  {head}  {escape(letter['type'])}", soft_wrap=True)
    code = f"{letter['code']} " if letter["code"] else ""
    reason = " ".join(letter["reason"].split())[:300]
    why = Text(f"{_short(letter['destination'])}: {code}{reason}", style="dim")
    terminal.out.print(Padding(why, (0, 0, 0, 2)))


def _short(destination: str) -> str:
    """Of a URL the first part of its host, which is the function's name; of a Trigger its last part."""
    from urllib.parse import urlsplit

    host = urlsplit(destination).hostname
    return host.partition(".")[0] if host and not host[0].isdigit() else destination.rpartition("/")[2] or destination
