"""`mcqa drift status`: what the drift checks found, on what evidence, and what followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mcqa import loop, targets, terminal
from mcqa.errors import unavailable_as_command_error
from mcqa.readmodels.drift import Check, DriftFacts, Retraining, read

drift_app = typer.Typer(no_args_is_help=True, help="Whether the traffic has moved away from the champion's reference.")

STYLES = {"drift": "bold red", "suspect": "yellow", "no-drift": "green", "insufficient": "dim"}


@drift_app.callback()
def root() -> None:
    # A single command would otherwise take the group's place.
    pass


@drift_app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    last: Annotated[int, typer.Option(min=1, max=1000, help="Number of checks to show.")] = 5,
    directory: loop.FolderOption = None,
) -> None:
    """Show the champion, the last checks with their evidence, the open window, and the last alarm."""
    with unavailable_as_command_error(ValueError, hint="; `mcqa status` shows what is running"):
        facts = read(targets.environ(directory), last)
    if as_json:
        terminal.json_line(facts, indent=2)
        return
    targets.announce(directory)
    _print(facts)


def _print(facts: DriftFacts) -> None:
    out = terminal.out
    champion, window = facts["champion"], facts["window"]
    if champion is None or window is None:
        out.print(f"{facts['model']} has no champion; [bold]mcqa up[/] registers the first version")
    else:
        since = "" if window["since"] is None else f" since {_when(window['since'])}"
        answers = f"{window['answers']} answers{since}; {window['needed']} give a verdict, {window['enough']} close it"
        out.print(f"champion   {facts['model']} version [bold]{escape(champion)}[/]")
        terminal.hanging("window     ", answers)
    if facts["streaks"]:
        streaks = ", ".join(f"{escape(feature)} {count}" for feature, count in facts["streaks"].items())
        out.print(f"in a row   {streaks}; {facts['consecutive']} in a row raise an alarm")
    if not facts["checks"]:
        out.print("checks     none yet")
        return
    out.print()
    out.print(_checks(facts["checks"]))
    with_evidence = next((check for check in facts["checks"] if check["evidence"]), None)
    if with_evidence is not None:
        out.print()
        out.print(f"evidence of check {with_evidence['sequence']}", style="bold")
        out.print(_evidence(with_evidence["evidence"]))
    out.print()
    _print_alarm(facts["alarm"], facts["retraining"])


def _checks(checks: Sequence[Check]) -> Table:
    table = terminal.plain_table()
    table.add_column("check", justify="right")
    table.add_column("when")
    table.add_column("version")
    table.add_column("answers", justify="right")
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold")
    for check in checks:
        verdict = f"{check['verdict']}{', alarm' if check['alarm'] else ''}"
        style = STYLES.get(check["verdict"], "")
        cells = (str(check["sequence"]), _when(check["checked_at"]), escape(check["version"]), str(check["n"]))
        table.add_row(*cells, f"[{style}]{verdict}[/]", escape(check["reason"]))
    return table


def _evidence(evidence: Sequence[Mapping[str, Any]]) -> Table:
    table = terminal.plain_table()
    table.add_column("feature", style="cyan", no_wrap=True)
    table.add_column("test", no_wrap=True)
    for title in ("n", "reference", "effect", "floor", "adjusted p"):
        table.add_column(title, justify="right")
    table.add_column("", no_wrap=True)
    for test in evidence:
        figures = (
            str(test["n"]),
            str(test["n_reference"]),
            f"{test['effect']:.3f}",
            f"{test['floor']:.2g}",
            f"{test['p_adjusted']:.2g}",
        )
        table.add_row(test["feature"], test["test"], *figures, "[bold red]moved[/]" if test["rejected"] else "")
    return table


def _print_alarm(alarm: Check | None, run: Retraining | None) -> None:
    out = terminal.out
    if alarm is None:
        out.print("last alarm none")
        return
    out.print(f"last alarm {_when(alarm['checked_at'])}, version {escape(alarm['version'])}: {escape(alarm['reason'])}")
    if run is None:
        out.print("retraining not requested yet")
        return
    result = f", registered version {escape(run['version'])}" if run["version"] else ""
    why = f": {escape(run['error'])}" if run["error"] else ""
    out.print(f"retraining retrain-{run['key'][:16]} [bold]{run['state']}[/]{result}{why}", soft_wrap=True)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
