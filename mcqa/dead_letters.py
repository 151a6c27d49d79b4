"""`mcqa dead-letters`: events that a function could not use. The same store on a laptop and on a cluster: the database.

On a laptop, what not even the function dead-letters took is kept by the broker; it is listed and replayed here as well.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from mcqa import events, loop, terminal, waiting
from mcqa.errors import CommandError
from mcqa.loop import FolderOption

if TYPE_CHECKING:
    from sqlalchemy import Engine, Row

    from functions.events import Event

dead_letters_app = typer.Typer(no_args_is_help=True, help="Events that a function could not use, or no retry deliver.")

NAME = 12
"""Hex digits of a dead letter's key that are shown, and in its function's log; fewer will do where they are unique."""
WAIT = 5.0
"""Seconds: a function that still refuses an event does so at once; one that is away is tried for minutes."""

NamesArgument = Annotated[list[str] | None, typer.Argument(help="Which ones.", metavar="[NAME]...")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@dead_letters_app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most this many.")] = 50,
    every: Annotated[bool, typer.Option("--all", help="Also those that were replayed or discarded.")] = False,
    as_json: JsonOption = False,
    directory: FolderOption = None,
) -> None:
    """List them, the newest first: which event, who refused it, why."""
    from functions.dead_letters import store

    with _database(directory) as engine:
        rows = _transact(engine, lambda c: store.letters(c, None if every else "open", limit))
    found = [*(_told(row) for row in rows), *kept_by_broker(directory)]
    if as_json:
        for item in found:
            terminal.json_line(item)
        return
    loop.say(directory)
    if not found:
        terminal.note("no dead letters")
        return
    for item in found:
        _print(item, every)
    terminal.note(
        "`mcqa dead-letters show NAME` shows the event, `replay NAME` sends it again, `discard NAME` drops it"
    )


@dead_letters_app.command()
def show(
    name: Annotated[str, typer.Argument(help="As `list` prints it.")],
    directory: FolderOption = None,
) -> None:
    """Show one with its event, as JSON."""
    if _is_brokers(name):
        with events.broker(directory, told=False) as broker:
            terminal.json_line(events.get(broker, f"/-/dead-letters/{name}"), indent=2)
        return
    with _database(directory) as engine:
        row = _find(engine, name)
    data: dict[str, Any] = {"data_base64": base64.b64encode(row.data).decode()}
    with suppress(ValueError, RecursionError):
        data = {"data": json.loads(row.data)}
    terminal.json_line({**_told(row), "event": {**row.attributes, **data}}, indent=2)


@dead_letters_app.command()
def replay(
    names: NamesArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    wait: waiting.WaitOption = WAIT,
    directory: FolderOption = None,
) -> None:
    """Send them to the broker again. Whoever has used such an event already knows it and does nothing.

    One that was replayed before is left alone unless it came back since.
    """
    from common.errors import UnavailableError
    from functions.dead_letters import store
    from functions.sink import Sink

    chosen, brokers = _chosen(names, everything, directory)
    with _database(directory) as engine:
        rows = [_find(engine, name) for name in chosen] if names else _open(engine)
        due = [row for row in rows if row.state != "replayed"]
        for row in rows:
            if row.state == "replayed":
                terminal.out.print(f"{_name(row)} was replayed already, and has not come back", highlight=False)
        if due:
            sink = Sink({"K_SINK": str(loop.sink(directory).address)})
        for row in due:
            try:
                sink.send(_event(row))
            except UnavailableError as error:
                raise CommandError(f"{_name(row)} was not replayed: {error}") from None
            # Refused again, it may be open again by now: that must stay.
            _transact(engine, partial(store.mark, key=row.key, state="replayed", times=row.times))
            terminal.out.print(f"[green]✓[/] {_name(row)} was sent again: {row.type}", soft_wrap=True)
        _replay_brokers(brokers, directory)
        _tell_returned(engine, due, wait)


@dead_letters_app.command()
def discard(
    names: NamesArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    directory: FolderOption = None,
) -> None:
    """Have nothing more done about them. They stay in the database, as discarded, until its retention ends."""
    from functions.dead_letters import store

    chosen, brokers = _chosen(names, everything, directory)
    if brokers and names:
        raise CommandError(f"{brokers[0]} is still the broker's: replay it; what is refused again can be discarded")
    with _database(directory) as engine:
        for row in [_find(engine, name) for name in chosen] if names else _open(engine):
            if row.state != "open":
                terminal.out.print(f"{_name(row)} was {row.state} already: nothing to discard", highlight=False)
            elif _transact(engine, partial(store.mark, key=row.key, state="discarded", times=row.times)):
                terminal.out.print(f"[green]✓[/] {_name(row)} is discarded: {row.type}", soft_wrap=True)
            else:
                raise CommandError(f"{_name(row)} came back in this moment: look at it again")
    if brokers:
        terminal.note(f"{len(brokers)} are still the broker's: `mcqa dead-letters replay --all` tries them again")


def kept_by_broker(directory: Path | None) -> list[dict[str, Any]]:
    """What the broker of a loop on this machine could give to nobody, not even to the function dead-letters."""
    if directory is None and loop.elsewhere():
        return []
    if not loop.folder(directory).running():
        return []
    with events.client(loop.folder(directory)) as broker:
        items = events.get(broker, "/-/dead-letters", {"limit": 1000})["items"]
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


def _chosen(names: Sequence[str] | None, everything: bool, directory: Path | None) -> tuple[list[str], list[str]]:
    """The names in the database and those that the broker keeps; each once."""
    if bool(names) == everything:
        raise typer.BadParameter("give names, or --all", param_hint="NAME")
    if everything:
        return [], [item["name"] for item in kept_by_broker(directory)]
    unique = list(dict.fromkeys(names or ()))
    return [one for one in unique if not _is_brokers(one)], [one for one in unique if _is_brokers(one)]


def _replay_brokers(names: Sequence[str], directory: Path | None) -> None:
    if not names:
        return
    with events.broker(directory) as broker:
        for name in names:
            events.post(broker, f"/-/dead-letters/{name}/replay")
            terminal.out.print(f"[green]✓[/] {name} is queued at the broker again", soft_wrap=True)


def _tell_returned(engine: Engine, sent: Sequence[Row[Any]], wait: float) -> None:
    """Which of them were refused again; CommandError when any was."""
    from functions.dead_letters import store

    if not sent:
        return
    before = {row.key: row.times for row in sent}

    def returned() -> list[Row[Any]]:
        found = [_transact(engine, partial(store.find, key=key)) for key in before]
        return [row for row in found if row is not None and row.times > before[row.key]]

    waiting.until(lambda: len(returned()) == len(before) or None, wait, "what comes back")
    if back := returned():
        raise CommandError(
            f"{len(back)} of {len(before)} came back", [f"{_name(row)}: {row.code or ''} {row.reason}" for row in back]
        )
    terminal.note("what is refused later is open again: `mcqa dead-letters list`")


def _find(engine: Engine, name: str) -> Row[Any]:
    from functions.dead_letters import store

    row = _transact(engine, lambda c: store.find(c, name.lower()))
    if row is None:
        raise CommandError(f"there is no dead letter {name!r}, or more than one: `mcqa dead-letters list --all`")
    return row


def _open(engine: Engine) -> list[Row[Any]]:
    from functions.dead_letters import store

    return list(_transact(engine, lambda c: store.letters(c, "open", 100_000)))


def _event(row: Row[Any]) -> Event:
    from functions.events import Event

    given = dict(row.attributes)
    given.pop("specversion", None)
    known = {name: given.pop(name) for name in ("time", "subject", "datacontenttype") if name in given}
    own = {name: given.pop(name, getattr(row, name)) for name in ("id", "source", "type")}
    return Event(**own, **known, extensions=given, data=row.data)


@contextmanager
def _database(directory: Path | None) -> Iterator[Engine]:
    from common.errors import UnavailableError
    from functions.database import connect

    try:
        engine = connect(loop.environ(directory))
        try:
            yield engine
        finally:
            engine.dispose()
    except UnavailableError as error:
        raise CommandError(str(error)) from None


def _transact(engine: Engine, act: Callable[[Any], Any]) -> Any:
    from functions.database import transaction

    with transaction(engine) as connection:
        return act(connection)


def _told(row: Row[Any]) -> dict[str, Any]:
    names = ("state", "type", "source", "id", "destination", "code", "reason", "times", "first_at", "last_at")
    return {"name": _name(row), **{name: getattr(row, name) for name in names}}


def _name(row: Row[Any]) -> str:
    return str(row.key)[:NAME]


def _is_brokers(name: str) -> bool:
    return "-" in name


def _print(item: dict[str, Any], state: bool) -> None:
    """Two lines, the second as many as it needs: a table of such long words would be a ruin in 60 columns."""
    when = datetime.fromtimestamp(item["last_at"] or time.time()).strftime("%Y-%m-%d %H:%M:%S")
    times = f"  {item['times']} times" if item["times"] > 1 else ""
    head = f"{when}{times}{'  ' + item['state'] if state else ''}"
    terminal.out.print(f"[cyan]{item['name']}[/]  {head}  {escape(item['type'])}", soft_wrap=True)
    code = f"{item['code']} " if item["code"] else ""
    why = Text(f"{_short(item['destination'])}: {code}{' '.join(item['reason'].split())[:300]}", style="dim")
    terminal.out.print(Padding(why, (0, 0, 0, 2)))


def _short(destination: str) -> str:
    """Of an address the first part of its host, which is the function's name; a Trigger's last part."""
    from urllib.parse import urlsplit

    host = urlsplit(destination).hostname
    return host.partition(".")[0] if host and not host[0].isdigit() else destination.rpartition("/")[2] or destination
