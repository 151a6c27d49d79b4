"""`mcqa events` and `mcqa dead-letters`: what went through the broker, what could not be delivered, and once more."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from local.platform.settings import HOST
from mcqa import loop, terminal
from mcqa.errors import CommandError
from mcqa.loop import FolderOption

if TYPE_CHECKING:
    import httpx

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

dead_letters_app = typer.Typer(no_args_is_help=True, help="Events that no retry could deliver.")


def events(
    number: Annotated[int | None, typer.Argument(help="Show this event whole, with its deliveries.")] = None,
    type: Annotated[str | None, typer.Option(help="Only events of this type.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most this many.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they arrive.")] = False,
    as_json: JsonOption = False,
    directory: FolderOption = None,
) -> None:
    """Show the events that went through the broker, the newest last."""
    with _broker(directory, told=number is None and not as_json) as broker:
        if number is not None:
            typer.echo(json.dumps(_get(broker, f"/-/events/{number}"), indent=2, ensure_ascii=False))
            return
        query = {"limit": limit, **({"type": type} if type else {})}
        found = _get(broker, "/-/events", query)["items"][::-1]
        if not found and not follow:
            terminal.note("no events yet")
        for item in found:
            _show(item, as_json)
        seen = found[-1]["seq"] if found else 0
        while follow:
            time.sleep(0.5)
            for item in _get(broker, "/-/events", {**query, "limit": 200})["items"][::-1]:
                if item["seq"] > seen:
                    seen = item["seq"]
                    _show(item, as_json)


@dead_letters_app.command("list")
def dead_letters_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most this many.")] = 50,
    as_json: JsonOption = False,
    directory: FolderOption = None,
) -> None:
    """List them, the newest first: which Trigger, which event, why."""
    with _broker(directory, told=not as_json) as broker:
        found = _get(broker, "/-/dead-letters", {"limit": limit})["items"]
    if as_json:
        for item in found:
            typer.echo(json.dumps(item))
        return
    if not found:
        terminal.note("no dead letters")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("name", "trigger", "type", "tries", "why"):
        table.add_column(name, overflow="fold")
    for item in found:
        trigger = str(item["trigger"]).rpartition("/")[2]
        table.add_row(item["name"], trigger, item["type"], str(item["attempts"]), _why(item))
    terminal.out.print(table)
    terminal.note("`mcqa dead-letters show NAME` shows the event, `mcqa dead-letters replay NAME` delivers it again")


@dead_letters_app.command("show")
def dead_letters_show(name: str, directory: FolderOption = None) -> None:
    """Show one with its event and the last answer of its subscriber."""
    with _broker(directory, told=False) as broker:
        typer.echo(json.dumps(_get(broker, f"/-/dead-letters/{name}"), indent=2, ensure_ascii=False))


@dead_letters_app.command("replay")
def dead_letters_replay(
    names: Annotated[list[str] | None, typer.Argument(help="Which ones.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    directory: FolderOption = None,
) -> None:
    """Deliver them to their Trigger's subscriber again, with all retries."""
    if bool(names) == everything:
        raise typer.BadParameter("give names, or --all")
    with _broker(directory) as broker:
        chosen = names or [item["name"] for item in _get(broker, "/-/dead-letters", {"limit": 1000})["items"]]
        for name in chosen:
            _answer(broker.post(f"/-/dead-letters/{name}/replay"))
    terminal.out.print(f"[green]✓[/] {len(chosen)} queued again")


def _broker(directory: Any, *, told: bool = True) -> httpx.Client:
    import httpx

    folder = loop.require_running(loop.folder(directory))
    if told:
        terminal.note(loop.named(folder))
    return httpx.Client(base_url=f"http://{HOST}:{folder.settings().ports.broker}", timeout=10)


def _get(broker: httpx.Client, path: str, query: dict[str, Any] | None = None) -> Any:
    import httpx

    try:
        return _answer(broker.get(path, params=query))
    except httpx.TransportError as error:
        raise CommandError(f"the broker at {broker.base_url} does not answer ({error}): is the loop up?") from None


def _answer(response: httpx.Response) -> Any:
    if response.is_success:
        return response.json()
    try:
        raise CommandError(str(response.json()["error"]))
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"the broker answered {response.status_code}: {response.text[:200]}") from None


def _show(item: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(item))
        return
    attributes = item["attributes"]
    when = datetime.fromtimestamp(item["arrived"]).strftime("%H:%M:%S")
    trace = str(attributes.get("traceparent", ""))[3:11]
    terminal.out.print(
        f"[dim]{item['seq']:>7} {when}[/]  {attributes['type']:<48} {attributes['source']} [dim]{trace}[/]",
        soft_wrap=True,
    )


def _why(item: dict[str, Any]) -> str:
    status = f"{item['status']} " if item.get("status") else ""
    return f"{status}{item.get('response') or item.get('error') or ''}".strip()[:120]
