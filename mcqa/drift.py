"""`mcqa drift`: what the drift checks found, on what evidence, and what followed; accept the answers as normal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mcqa import baseline, loop, targets, terminal
from mcqa.errors import CommandError, unavailable_as_command_error
from mcqa.moments import FORMS, read_moment
from mcqa.readmodels import drift_accuracy, drift_distributions, drift_subjects
from mcqa.readmodels.drift import Baseline, Check, DriftFacts, Registered, Retraining, read
from mcqa.readmodels.drift_accuracy import Accuracy
from mcqa.readmodels.drift_subjects import Subjects
from mcqa.user import user

drift_app = typer.Typer(no_args_is_help=True, help="Whether the traffic has moved away from the champion's reference.")

_BECAME = {
    "champion": ", which is champion now",
    "challenger": ", which is under rollout",
    "promoted": ", which was champion since",
    "passed": ", which passed its canary",
    "rolled-back": ", which was rolled back",
    "registered": "",
    "gone": ", which is gone from the registry",
}
STYLES = {"drift": "bold red", "suspect": "yellow", "no-drift": "green", "insufficient": "dim"}


@drift_app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    last: Annotated[int, typer.Option(min=1, max=1000, help="Number of checks to show.")] = 5,
    directory: loop.FolderOption = None,
) -> None:
    """Show the champion, the last checks with their evidence, the open window, and the last alarm."""
    environ = targets.environ(directory)
    with unavailable_as_command_error(ValueError, hint="; `mcqa status` shows what is running"):
        facts, subjects, accuracy = read(environ, last), drift_subjects.read(environ), drift_accuracy.read(environ)
        if as_json:
            more = {"distributions": drift_distributions.read(environ), "subjects": subjects, "accuracy": accuracy}
            terminal.json_line({**facts, **more}, indent=2)
            return
    targets.announce(directory)
    _print(facts, subjects, accuracy)


@drift_app.command()
def accept(
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help=f"The first of the answers: {FORMS}.",
            show_default="since they began to differ, or since the open window began",
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="Only if this version is the champion.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the accepted baseline back.")] = False,
    check: Annotated[
        int | None, typer.Option(metavar="CHECK", help="With --undo: only if this check accepted the baseline.")
    ] = None,
    directory: loop.FolderOption = None,
) -> None:
    """Take the champion's answers since a time as normal: from now on drift is measured against them.

    An alarm ends. A new champion has its own reference.json again.
    """
    now = time.time()
    if undo and since is not None:
        raise CommandError("--undo takes the last baseline back, whatever its time: leave out --since")
    if undo and version is not None:
        raise CommandError("--version names the champion whose answers are accepted: leave it out with --undo")
    if check is not None and not undo:
        raise CommandError("--check names the baseline that --undo takes back: add --undo")
    with unavailable_as_command_error(ValueError):
        moment = None if since is None else _moment(since, now)
        environ = targets.environ(directory)
        if undo:
            taken = baseline.undo(environ, user(), now, check)
            rest = "its own reference.json" if taken.baseline is None else f"what check {taken.baseline} accepted"
            done = f"version {taken.version}: the baseline of check {taken.undone} no longer counts; drift is measured "
            done += f"against {rest}"
        else:
            accepted = baseline.accept(environ, moment, user(), now, version)
            done = f"version {accepted.version}: from now on drift is measured against the {accepted.n} answers since "
            done += f"{_when(accepted.since)}"
    targets.announce(directory)
    terminal.out.print(done, markup=False, soft_wrap=True)
    back = "" if undo else f"`mcqa drift accept --undo --check {accepted.sequence}` takes it back"
    terminal.note(back or "`mcqa drift status` shows what counts")


def _moment(text: str, now: float) -> float:
    try:
        return read_moment(text, now)
    except ValueError as error:
        raise CommandError(f"--since {error}") from None


def _print(facts: DriftFacts, subjects: Subjects, accuracy: Accuracy) -> None:
    out = terminal.out
    champion, window = facts["champion"], facts["window"]
    if champion is None or window is None or facts["baseline"] is None:
        out.print(f"{facts['model']} has no champion; [bold]mcqa up[/] registers the first version")
    else:
        since = "" if window["since"] is None else f" since {_when(window['since'])}"
        answers = f"{window['answers']} answers{since}; {window['needed']} give a verdict, {window['enough']} close it"
        out.print(f"champion   {facts['model']} version [bold]{escape(champion)}[/]")
        terminal.hanging("baseline   ", _baseline(facts["baseline"]))
        terminal.hanging("window     ", answers)
    if facts["streaks"]:
        streaks = ", ".join(f"{escape(feature)} {count}" for feature, count in facts["streaks"].items())
        out.print(f"in a row   {streaks}; {facts['consecutive']} in a row raise an alarm")
    if grown := [subject for subject in subjects["subjects"] if subject["grew"]]:
        shares = (f"{s['subject'] or 'no subject'} {s['share_before']:.0%} → {s['share']:.0%}" for s in grown)
        terminal.hanging("asked more ", ", ".join(shares))
    if rate := _accuracy(accuracy):
        terminal.hanging("accuracy   ", rate)
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
    _print_alarm(facts["alarm"], facts["retraining"], facts["registered"])


def _baseline(baseline: Baseline) -> str:
    if baseline["since"] is None or baseline["accepted_at"] is None:
        return f"reference.json of version {baseline['version']}"
    accepted = f"accepted by {baseline['accepted_by']} at {_when(baseline['accepted_at'])}"
    return f"{baseline['n']} answers since {_when(baseline['since'])}, {accepted}"


def _accuracy(accuracy: Accuracy) -> str:
    """The champion's newest hour."""
    points = [point for point in accuracy["points"] if point["version"] == accuracy["champion"]]
    if not points:
        return ""
    last = points[-1]
    labelled = "no labels"
    if last["accuracy"] is not None:
        interval = f"[{last['accuracy_low']:.0%}, {last['accuracy_high']:.0%}]"
        labelled = f"{last['accuracy']:.0%} {interval} of {last['labels']} labelled"
    estimated = "" if last["estimated"] is None else f", {last['estimated']:.0%} by its own confidence"
    return f"{labelled}{estimated}, in the hour from {_when(last['at'])}"


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


def _print_alarm(alarm: Check | None, run: Retraining | None, registered: Registered | None) -> None:
    out = terminal.out
    if alarm is None:
        out.print("last alarm none")
        return
    out.print(f"last alarm {_when(alarm['checked_at'])}, version {escape(alarm['version'])}: {escape(alarm['reason'])}")
    if run is None:
        out.print("retraining not requested yet")
        return
    result = f", registered version {escape(run['version'])}" if run["version"] else ""
    result += _BECAME[registered["state"]] if registered else ""
    why = f": {escape(run['error'])}" if run["error"] else ""
    out.print(f"retraining retrain-{run['key'][:16]} [bold]{run['state']}[/]{result}{why}", soft_wrap=True)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
