"""`mcqa status`: whether everything is well, at a glance."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from local.platform.settings import Folder
from mcqa import loop, loop_sentences, terminal
from mcqa.loop import FolderOption
from mcqa.readmodels.status import LoopStatus, Service, read


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    directory: FolderOption = None,
) -> None:
    """Show the loop on this machine: processes, services and traffic, versions, runs, events, what it waits for.

    Exit code 1 when it is not running or something is wrong.
    """
    folder = loop.require_running(loop.folder(directory))
    facts = read(folder)
    if as_json:
        terminal.json_line(facts, indent=2)
    else:
        _print(facts, folder)
    if facts["problems"]:
        raise typer.Exit(1)


def _print(facts: LoopStatus, folder: Folder) -> None:
    out = terminal.out
    up_for = loop_sentences.duration(facts["up_for"])
    out.print(f"[bold]{escape(loop.name(folder))}[/] is up for {up_for}, process {facts['pid']}\n")
    out.print(_processes(facts))
    if facts["aliases"] is not None:
        aliases = ", ".join(f"{alias} {version}" for alias, version in sorted(facts["aliases"].items()))
        out.print(f"\n[bold]versions[/]  {aliases or 'none registered'}")
    for run in facts["runs"] or ():
        out.print(f"[bold]run[/]       {run['display_name']} {run['state']} [dim]{run['created_at']}[/]")
    for run in (facts["runs"] or ())[:1]:
        out.print(f"          [dim]{run['page']}[/]", soft_wrap=True)
    if broker := facts["broker"]:
        delivered = sum(trigger["delivered"] for trigger in broker["triggers"])
        waiting = sum(trigger["depth"] for trigger in broker["triggers"])
        out.print(f"[bold]events[/]    {broker['events']} stored, {delivered} delivered, {waiting} waiting")
    for part, waiting in facts["waiting"].items():
        for fact in (fact for fact in waiting if fact["code"] not in loop_sentences.SLEEPS):  # the table says so
            sentence = escape(loop_sentences.waiting(fact))
            out.print(f"[bold]waits[/]     {part}: {sentence}", soft_wrap=True, highlight=False)
    if facts["older"]:
        out.print(f"[yellow]![/] {escape(facts['older'])}", soft_wrap=True)
    for want in filter(None, map(loop_sentences.want, facts["wants"])):
        out.print(f"[yellow]▲[/] {escape(want)}", soft_wrap=True, highlight=False)
    for problem in facts["problems"]:
        out.print(f"[bold red]✗[/] {escape(problem)}", soft_wrap=True)


def _processes(facts: LoopStatus) -> Table:
    table = terminal.plain_table(gap=3)
    for title in ("", "state", "processes", "traffic"):
        table.add_column(title, overflow="fold")
    for part in facts["parts"]:
        restarts = f", restarted {part['restarts']}×" if part["restarts"] else ""
        table.add_row(part["name"], _state(part["state"] == "ready", part["state"]), f"{part['pid']}{restarts}", "")
    for service in facts["services"]:
        pids = ", ".join(str(pid) for revision in service["revisions"] for pid in revision["pids"])
        state = _state(service["ready"], "ready")
        table.add_row(service["name"], state, pids or "[dim]scaled to zero[/]", _traffic(service))
    return table


def _traffic(service: Service) -> str:
    if service["kind"] != "model":
        return ""
    return " · ".join(f"{entry['percent']}% {entry['revision']}" for entry in service["traffic"] if entry["percent"])


def _state(good: bool, text: str) -> str:
    return f"[green]{text}[/]" if good else f"[red]{'not ready' if text == 'ready' else text}[/]"
