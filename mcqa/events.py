"""`mcqa events`: what went through the broker of a loop on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from local.platform.settings import Folder
from mcqa import loop, terminal
from mcqa.errors import CommandError
from mcqa.loop import FolderOption

if TYPE_CHECKING:
    import httpx

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def events(
    number: Annotated[int | None, typer.Argument(help="Show this event whole, with its deliveries.")] = None,
    type: Annotated[str | None, typer.Option(help="Only events of this type.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most this many.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they arrive.")] = False,
    as_json: JsonOption = False,
    directory: FolderOption = None,
) -> None:
    """Show the events that went through the broker, the newest last."""
    with broker(directory, told=number is None and not as_json) as asked:
        if number is not None:
            terminal.json_line(get(asked, f"/-/events/{number}"), indent=2)
            return
        query = {"limit": limit, **({"type": type} if type else {})}
        found = get(asked, "/-/events", query)["items"][::-1]
        if not found and not follow:
            terminal.note("no events yet")
        for item in found:
            _show(item, as_json)
        seen = found[-1]["seq"] if found else 0
        while follow:
            time.sleep(0.5)
            for item in get(asked, "/-/events", {**query, "limit": 200})["items"][::-1]:
                if item["seq"] > seen:
                    seen = item["seq"]
                    _show(item, as_json)


def broker(directory: Any, *, told: bool = True) -> httpx.Client:
    """The broker of the loop; `told`: which one that is, is said."""
    folder = loop.require_running(loop.folder(directory))
    if told:
        terminal.note(loop.named(folder))
    return client(folder)


def client(folder: Folder) -> httpx.Client:
    return loop.broker(folder)


def get(broker: httpx.Client, path: str, query: dict[str, Any] | None = None) -> Any:
    """The broker's answer, or CommandError with what it says."""
    return _asked(broker, lambda: broker.get(path, params=query))


def post(broker: httpx.Client, path: str) -> Any:
    return _asked(broker, lambda: broker.post(path))


def _asked(broker: httpx.Client, ask: Callable[[], httpx.Response]) -> Any:
    import httpx

    try:
        return _answer(ask())
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
        terminal.json_line(item)
        return
    attributes = item["attributes"]
    when = datetime.fromtimestamp(item["arrived"]).strftime("%H:%M:%S")
    trace = str(attributes.get("traceparent", ""))[3:11]
    column = 48 if terminal.out.width >= 100 or not terminal.out.is_terminal else 0
    what = f"{escape(attributes['type']):<{column}} {escape(attributes['source'])}"
    terminal.row(f"[dim]{item['seq']:>7} {when}[/]  {what} [dim]{trace}[/]")
