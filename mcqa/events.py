"""`mcqa events`: what went through the broker of a loop on this machine."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape

from common.trace_context import trace_id
from mcqa import broker_client, terminal
from mcqa.loop import FolderOption
from mcqa.readmodels.events import BrokerEvent, recent, with_deliveries

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
POLL_SECONDS = 0.5
POLL_LIMIT = 200


def events(
    number: Annotated[int | None, typer.Argument(help="Show this event in full, with its deliveries.")] = None,
    type: Annotated[str | None, typer.Option(help="Only events of this type.")] = None,
    trace: Annotated[
        str | None, typer.Option(help="Only events of this trace: its id, a traceparent, or an answer's id.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Only events with this text in an attribute or the data.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Most events to show.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing as they arrive.")] = False,
    as_json: JsonOption = False,
    directory: FolderOption = None,
) -> None:
    """Show the events that went through the broker, the newest last."""
    if trace is not None and trace_id(trace) is None:
        raise typer.BadParameter(f"must have 32 hex digits, found {trace!r}", param_hint="--trace")
    wanted = {"type": type, "trace": trace and trace_id(trace), "text": text}
    with broker_client.connect(directory, announce=number is None and not as_json) as broker:
        if number is not None:
            terminal.json_line(with_deliveries(broker, number), indent=2)
            return
        shown = recent(broker, limit, **wanted)
        if not shown and not follow:
            terminal.note("no events yet")
        for event in shown:
            _print(event, as_json)
        last = shown[-1]["seq"] if shown else 0
        while follow:
            time.sleep(POLL_SECONDS)
            for event in recent(broker, POLL_LIMIT, **wanted):
                if event["seq"] > last:
                    last = event["seq"]
                    _print(event, as_json)


def _print(event: BrokerEvent, as_json: bool) -> None:
    if as_json:
        terminal.json_line(event)
        return
    attributes = event["attributes"]
    when = datetime.fromtimestamp(event["arrived"]).strftime("%H:%M:%S")
    trace = str(attributes.get("traceparent", ""))[3:11]
    column = 48 if terminal.out.width >= 100 or not terminal.out.is_terminal else 0
    what = f"{escape(attributes['type']):<{column}} {escape(attributes['source'])}"
    terminal.row(f"[dim]{event['seq']:>7} {when}[/]  {what} [dim]{trace}[/]")
