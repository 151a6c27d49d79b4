"""`mcqa drift status`: what the drift checks found, on what evidence, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from common.names import CHAMPION
from mcqa import loop, terminal
from mcqa.errors import CommandError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

drift_app = typer.Typer(no_args_is_help=True, help="Has the traffic moved away from what the champion was measured on?")

STYLES = {"drift": "bold red", "suspect": "yellow", "no-drift": "green", "insufficient": "dim"}


@drift_app.callback()
def root() -> None:
    # A single command would otherwise take the group's place.
    pass


@drift_app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    last: Annotated[int, typer.Option(min=1, max=1000, help="Show this many checks.")] = 5,
    directory: loop.FolderOption = None,
) -> None:
    """Show the champion, the last checks with their evidence, the open window, and the last alarm."""
    found = read(loop.environ(directory), last)
    if as_json:
        terminal.json_line(found, indent=2)
        return
    loop.say(directory)
    _print(found)


def read(environ: Mapping[str, str], last: int) -> dict[str, Any]:
    """The whole status as plain data. CommandError when the database or the registry is away."""
    from common.event_types import DRIFT_DETECTED
    from common.mlflow.registry import ModelRegistry
    from functions.database import connect, transaction
    from functions.drift import store
    from functions.drift.announce import event_id
    from functions.drift.look import settings
    from functions.retrain.store import of_drift

    with _failures():
        chosen = settings(environ)
        model = ModelRegistry(environ, chosen.model).model()
        champion = model.aliases.get(CHAMPION) if model else None
        engine = connect(environ)
        with transaction(engine) as connection:
            checks = [_check(row) for row in store.checks(connection, chosen.model, last)]
            window = _window(connection, chosen.model, champion)
            alarm = store.last_alarm(connection, chosen.model)
            run = None if alarm is None else of_drift(connection, event_id(DRIFT_DETECTED, alarm))
    return {
        "model": chosen.model,
        "champion": champion,
        "window": window and {**window, "needed": chosen.config.min_sample, "enough": chosen.config.enough},
        "streaks": checks[0]["streaks"] if checks and checks[0]["version"] == champion else {},
        "consecutive": chosen.config.consecutive,
        "checks": checks,
        "alarm": None if alarm is None else _check(alarm),
        "retraining": None if run is None else _run(run),
    }


def _check(row: Row[Any]) -> dict[str, Any]:
    names = ("sequence", "version", "checked_at", "window_start", "window_end", "n", "verdict", "alarm", "reason")
    told = {"streaks": row.document["state"]["streaks"], "evidence": row.document["evidence"]}
    return {**{name: getattr(row, name) for name in names}, "traceparent": row.traceparent, **told}


def _run(row: Row[Any]) -> dict[str, Any]:
    names = ("key", "state", "attempt", "run_id", "version", "error", "created_at", "started_at", "finished_at")
    return {name: getattr(row, name) for name in names}


def _window(connection: Connection, model: str, champion: str | None) -> dict[str, Any] | None:
    """The champion's open window: where it begins, and how many answers are in it by now."""
    from functions.collect.queries import count
    from functions.drift.store import before

    if champion is None:
        return None
    state = before(connection, model, champion).state
    size = 0 if state.since is None else count(connection, champion, state.since, time.time())
    return {"since": state.since, "answers": size}


@contextmanager
def _failures() -> Iterator[None]:
    from common.errors import UnavailableError

    try:
        yield
    except UnavailableError as error:
        raise CommandError(f"{error}; `mcqa status` says what runs") from None
    except ValueError as error:
        raise CommandError(str(error)) from None


def _print(found: Mapping[str, Any]) -> None:
    out = terminal.out
    champion, window = found["champion"], found["window"]
    if champion is None:
        out.print(f"{found['model']} has no champion; the first version is registered by [bold]mcqa up[/]")
    else:
        size, since = window["answers"], window["since"]
        begin = "" if since is None else f" since {_when(since)}"
        out.print(f"champion   {found['model']} version [bold]{escape(champion)}[/]")
        told = f"{size} answers{begin}; {window['needed']} to say something, {window['enough']} to close"
        terminal.hanging("window     ", told)
    if found["streaks"]:
        rows = ", ".join(f"{escape(name)} {count}" for name, count in found["streaks"].items())
        out.print(f"in a row   {rows}; {found['consecutive']} in a row are an alarm")
    if not found["checks"]:
        out.print("checks     none yet")
        return
    out.print()
    out.print(_checks(found["checks"]))
    shown = next((check for check in found["checks"] if check["evidence"]), None)
    if shown is not None:
        out.print()
        out.print(f"evidence of check {shown['sequence']}", style="bold")
        out.print(_evidence(shown["evidence"]))
    out.print()
    _alarm(found["alarm"], found["retraining"])


def _checks(checks: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, justify in (("check", "right"), ("when", "left"), ("version", "left"), ("answers", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold")
    for check in checks:
        verdict = f"{check['verdict']}{', alarm' if check['alarm'] else ''}"
        style = STYLES.get(check["verdict"], "")
        cells = (str(check["sequence"]), _when(check["checked_at"]), escape(check["version"]), str(check["n"]))
        table.add_row(*cells, f"[{style}]{verdict}[/]", escape(check["reason"]))
    return table


def _evidence(evidence: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("feature", style="cyan", no_wrap=True)
    table.add_column("test", no_wrap=True)
    for name in ("n", "reference", "effect", "floor", "adjusted p"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    for e in evidence:
        figures = (
            str(e["n"]),
            str(e["n_reference"]),
            f"{e['effect']:.3f}",
            f"{e['floor']:.2g}",
            f"{e['p_adjusted']:.2g}",
        )
        table.add_row(e["feature"], e["test"], *figures, "[bold red]moved[/]" if e["rejected"] else "")
    return table


def _alarm(alarm: Mapping[str, Any] | None, run: Mapping[str, Any] | None) -> None:
    out = terminal.out
    if alarm is None:
        out.print("last alarm none")
        return
    out.print(f"last alarm {_when(alarm['checked_at'])}, version {escape(alarm['version'])}: {escape(alarm['reason'])}")
    if run is None:
        out.print("retraining not asked for yet")
        return
    result = f", registered version {escape(run['version'])}" if run["version"] else ""
    why = f": {escape(run['error'])}" if run["error"] else ""
    out.print(f"retraining retrain-{run['key'][:16]} [bold]{run['state']}[/]{result}{why}", soft_wrap=True)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
