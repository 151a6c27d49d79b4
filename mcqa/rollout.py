"""`mcqa rollout`: where the canary stands and why, and the operator's overrides of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from mcqa import targets, terminal
from mcqa.errors import unavailable_as_command_error
from mcqa.loop import FolderOption
from mcqa.readmodels.rollout import Need, RolloutFacts, read
from mcqa.readmodels.rollout_history import Since
from mcqa.user import user

rollout_app = typer.Typer(
    no_args_is_help=True, help="The canary: see where it stands and why; promote, hold or abort it."
)

_VERDICTS = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}
_NEXT = {
    "idle": "nothing; giving a version the alias [bold]challenger[/] starts a rollout.",
    "blocked": "resolve the reason; the rollout then continues by itself.",
    "deploying": "nothing; the champion's service is on its way.",
    "held": "[bold]mcqa rollout promote[/], [bold]abort[/] or [bold]resume[/].",
    "rolling-back": "nothing; the champion is getting its traffic back.",
    "promoting": "nothing; the aliases follow the traffic.",
    "finished": "nothing.",
}
_IN_PROGRESS = "nothing; [bold]mcqa rollout promote[/], [bold]hold[/] or [bold]abort[/] to step in."

Action = Literal["promote", "hold", "abort", "resume"]
VersionOption = Annotated[str | None, typer.Option(help="Only if the challenger is this version.")]


@rollout_app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    decisions: Annotated[int, typer.Option(min=0, help="Number of past decisions to show.")] = 8,
    directory: FolderOption = None,
) -> None:
    """Show champion, challenger, traffic, evidence and the last decisions."""
    with unavailable_as_command_error(ValueError):
        facts = read(targets.environ(directory), decisions)
    if as_json:
        terminal.json_line(facts, indent=2)
        return
    targets.announce(directory)
    _print(facts)


@rollout_app.command()
def promote(version: VersionOption = None, directory: FolderOption = None) -> None:
    """Give the challenger all traffic, whatever its canary shows, and make it the champion."""
    _override("promote", version, directory)


@rollout_app.command()
def hold(version: VersionOption = None, directory: FolderOption = None) -> None:
    """Stay at the current share of traffic until `promote`, `abort` or `resume`.

    A version that fails is still rolled back.
    """
    _override("hold", version, directory)


@rollout_app.command()
def abort(version: VersionOption = None, directory: FolderOption = None) -> None:
    """Withdraw the challenger: all traffic goes to the champion, and the version is not tried again."""
    _override("abort", version, directory)


@rollout_app.command()
def resume(version: VersionOption = None, directory: FolderOption = None) -> None:
    """Withdraw the override: the canary follows its evidence again."""
    _override("resume", version, directory)


def _override(action: Action, version: str | None, directory: Path | None) -> None:
    from common.event_types import SOURCE_CLI
    from functions.rollout.operator_actions import RefusedError, act

    with unavailable_as_command_error(ValueError, RefusedError):
        done = act(targets.environ(directory), action, user(), SOURCE_CLI, version)
    when = f"applied at the next tick ({done.problem})" if done.problem else "the rollout function applies it now"
    targets.announce(directory)
    terminal.out.print(f"{action} challenger {done.challenger}: noted, {when}", markup=False)
    terminal.note("`mcqa rollout status` shows the result")


def _print(facts: RolloutFacts) -> None:
    out, status = terminal.out, facts["look"]
    if status is None:
        terminal.note("the rollout function has not run yet: it runs at its next tick (`mcqa status`)")
        return
    out.print(_summary(status, facts))
    for version, page in facts["pages"].items():
        if page:
            out.print(f"[dim]version {version}: {page}[/]", soft_wrap=True)
    if status["evidence"]:
        out.print()
        out.print(_measurements(status["evidence"], facts["needs"]))
        if facts["needs"]:
            left = facts["seconds_left"]
            lasts = "unknown" if left is None else f"about {_duration(left)}" if left else "nothing more"
            out.print(f"this step still needs: {lasts}, if the differences stay as they are measured")
    if facts["decisions"]:
        out.print()
        out.print(_decisions(facts["decisions"]))
    out.print()
    out.print(f"What to do: {_NEXT.get(status['phase'], _IN_PROGRESS)}")


def _summary(status: Mapping[str, Any], facts: RolloutFacts) -> Table:
    from functions.reasons import reason_lines
    from functions.rollout.reasons import ReasonCode

    table = terminal.plain_table(show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    percent = 100 if status["percent"] is None else status["percent"]
    rolling = status["challenger"] is not None and status["version"] == status["challenger"]
    for alias, share in (("champion", 100 - percent), ("challenger", percent)):
        traffic = f", {share}% of the traffic" if rolling else ""
        table.add_row(alias, Text(f"version {status[alias]}{traffic}" if status[alias] else "none"))
        if alias == "champion" and (since := facts["since"]):
            table.add_row("since", Text(_since(since)))
    if rolling:
        steps = (f"[{step}%]" if step == percent else f"{step}%" for step in facts["planned"])
        table.add_row("steps", Text(" → ".join(steps)))
    table.add_row("phase", Text(f"{status['phase']} ({time.time() - status['at']:.0f} s ago)"))
    table.add_row("why", Text("\n".join(reason_lines(ReasonCode, status))))
    if override := facts["wish"]:
        table.add_row("override", Text(f"{override['action']} version {override['challenger']}, by {override['by']}"))
    return table


def _since(since: Since) -> str:
    made = since["decision"]
    who = f"{made['initiated_by']}: {made['by']}" if made["by"] else made["initiated_by"]
    return f"{datetime.fromtimestamp(since['at']):%Y-%m-%d %H:%M:%S}, by decision {made['number']} ({who})"


def _measurements(evidence: Mapping[str, Any], needs: Sequence[Need]) -> Table:
    """Of the two versions that were compared, which are not always those that have the aliases now."""
    table = terminal.plain_table()
    table.add_column("measure", style="cyan")
    arms = (f"version {evidence[alias]}" if evidence.get(alias) else alias for alias in ("champion", "challenger"))
    for title in (*arms, "worse by", "bounds", "margin", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict")
    if needs:
        table.add_column("still needed")
    for measurement, need in zip_longest(evidence["measures"], needs):
        low, high = measurement["low"], measurement["high"]
        table.add_row(
            measurement["name"],
            _number(measurement["champion"]),
            _number(measurement["challenger"]),
            _number(measurement["worse_by"], "+.3f"),
            "–" if low is None or high is None else f"{low:+.3f} … {high:+.3f}",
            _number(measurement["margin"]),
            f"{measurement['n_champion']} / {measurement['n_challenger']}",
            Text(measurement["verdict"], style=_VERDICTS.get(measurement["verdict"], "")),
            *([Text(_needed(need))] if need else ()),
        )
    return table


def _needed(need: Need) -> str:
    if need["state"] in ("proven", "failed"):
        return "–"
    if need["state"] == "beyond":
        return "more would not help: the estimate is beyond the margin"
    if need["more"] is None:
        return "unknown"
    text = f"{need['more']:,} {need['unit']}{' if they are equal' if need['state'] == 'assumed' else ''}"
    if need["per_hour"] == 0:
        return f"{text}, none arrive"
    return text if need["seconds"] is None else f"{text}, {_duration(need['seconds'])}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> Table:
    from functions.reasons import reason_lines
    from functions.rollout.reasons import ReasonCode

    table = terminal.plain_table()
    for title in ("time", "phase", "decision"):
        table.add_column(title, no_wrap=True, style="dim" if title == "time" else "")
    table.add_column("why", overflow="fold")
    for decision in reversed(decisions):
        when = datetime.fromtimestamp(decision["at"]).strftime("%H:%M:%S")
        reason = Text(reason_lines(ReasonCode, decision)[0])
        table.add_row(when, decision["phase"], Text(decision["action"]), reason)
    return table


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)
