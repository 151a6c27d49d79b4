"""`mcqa rollout`: where the canary stands and why, and the operator's word on it."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from common import links
from common.names import CHALLENGER, CHAMPION
from mcqa import loop, terminal
from mcqa.errors import CommandError
from mcqa.loop import FolderOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from functions.rollout.settings import Settings

rollout_app = typer.Typer(no_args_is_help=True, help="The canary: where it stands and why; promote, hold or abort it.")

_VERDICTS = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}
_NEXT = {
    "idle": "nothing; a version with the alias [bold]challenger[/] starts a rollout.",
    "blocked": "what the reason says; the rollout goes on by itself then.",
    "held": "[bold]mcqa rollout promote[/], [bold]abort[/] or [bold]resume[/].",
    "rolling-back": "nothing; the champion is getting its traffic back.",
    "promoting": "nothing; the aliases follow the traffic.",
    "finished": "nothing.",
}
_GOES_ON = "nothing; [bold]mcqa rollout promote[/], [bold]hold[/] or [bold]abort[/] to step in."

Version = Annotated[str | None, typer.Option(help="Only if the challenger is this version.")]


@rollout_app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    decisions: Annotated[int, typer.Option(min=0, help="How many of the last decisions to show.")] = 8,
    directory: FolderOption = None,
) -> None:
    """Show champion, challenger, traffic, evidence and the last decisions."""
    with _failures():
        found = _status(decisions, directory)
    if as_json:
        terminal.json_line(found, indent=2)
        return
    loop.say(directory)
    look = found["look"]
    if look is None:
        terminal.note("the rollout function has not looked yet: it does at its next tick (`mcqa status`)")
        return
    _summary(look, found)
    for version, page in found["pages"].items():
        if page:
            terminal.out.print(f"[dim]version {version}: {page}[/]", soft_wrap=True)
    if look["evidence"]:
        terminal.out.print()
        terminal.out.print(_measures(look["evidence"]))
    if found["decisions"]:
        terminal.out.print()
        terminal.out.print(_log(found["decisions"]))
    terminal.out.print()
    terminal.out.print(f"What to do: {_NEXT.get(look['phase'], _GOES_ON)}")


@rollout_app.command()
def promote(version: Version = None, directory: FolderOption = None) -> None:
    """Give the challenger all traffic, whatever its canary says, and make it champion."""
    _wish("promote", version, directory)


@rollout_app.command()
def hold(version: Version = None, directory: FolderOption = None) -> None:
    """Stop at the present share until `promote`, `abort` or `resume`. A version that fails still goes back."""
    _wish("hold", version, directory)


@rollout_app.command()
def abort(version: Version = None, directory: FolderOption = None) -> None:
    """Take the challenger back: all traffic to the champion."""
    _wish("abort", version, directory)


@rollout_app.command()
def resume(version: Version = None, directory: FolderOption = None) -> None:
    """Take back what was asked for: the canary goes on by its evidence."""
    _wish("resume", version, directory)


def _wish(action: Literal["promote", "hold", "abort", "resume"], version: str | None, directory: Path | None) -> None:
    from functions.database import transaction
    from functions.rollout import store
    from functions.rollout.world import Wish

    with _failures():
        environ, settings, engine = _loop(directory)
        challenger = _challenger(environ, settings.model, version)
        now = time.time()
        with transaction(engine) as connection:
            if action == "resume":
                if not store.clear_wish(connection, settings.model):
                    raise CommandError(f"nothing was asked for of challenger {challenger}: there is nothing to resume")
            else:
                store.write_wish(connection, settings.model, Wish(action, challenger, _who()), now)
        soon = _ask(environ, settings.model, action, challenger, now)
    loop.say(directory)
    terminal.out.print(f"{action} challenger {challenger}: noted, {soon}", markup=False)
    terminal.note("`mcqa rollout status` shows what comes of it")


def _challenger(environ: Mapping[str, str], model: str, version: str | None) -> str:
    """The version under rollout; CommandError when there is none, or another than `version`."""
    from common.mlflow.registry import ModelRegistry
    from functions.rollout.world import Version

    with ModelRegistry(environ, model) as registry:
        found = registry.model()
        aliases = found.aliases if found else {}
        challenger, champion = aliases.get(CHALLENGER), aliases.get(CHAMPION)
        if challenger is None or challenger == champion:
            serves = f"version {champion} is champion" if champion else "there is no champion either"
            raise CommandError(
                f"there is no rollout: no version of {model} has the alias {CHALLENGER} ({serves}). Set it on the "
                "version to try, and its canary starts"
            )
        if version not in (None, challenger):
            raise CommandError(f"version {version} is not under rollout; the challenger is version {challenger}")
        named = registry.version(challenger)
    if named is not None and (why := Version(challenger, named.tags).rolled_back):
        raise CommandError(f"challenger {challenger} is out already: {why}. Remove its tag 'rollout' to try it again")
    return challenger


def _ask(environ: Mapping[str, str], model: str, action: str, challenger: str, now: float) -> str:
    """Asks the rollout function to look; in words, when it will."""
    from common.errors import UnavailableError
    from common.event_types import ROLLOUT_REQUESTED
    from functions.sink import Sink, digest, loop_event, traceparent

    key = digest(ROLLOUT_REQUESTED, model, action, challenger, now)
    data = {"action": action, "challenger": challenger}
    try:
        Sink(environ).send(loop_event(ROLLOUT_REQUESTED, "/mcqa/rollout", key, data, now, traceparent(key)))
    except UnavailableError as error:
        return f"done at the next tick ({error})"
    return "the rollout function looks now"


def _status(most: int, directory: Path | None = None) -> dict[str, Any]:
    from functions.database import transaction
    from functions.rollout import store

    environ, settings, engine = _loop(directory)
    with transaction(engine) as connection:
        look = store.read_look(connection, settings.model)
        record, wish = store.read_record(connection, settings.model), store.read_wish(connection, settings.model)
        log = store.decisions(connection, settings.model, most)
    versions = [look[name] for name in ("champion", "challenger") if look and look[name]]
    return {
        "model": settings.model,
        "pages": {version: links.mlflow_version(environ, settings.model, version) for version in versions},
        "look": look,
        "steps": [{"percent": step.percent, "since": step.since} for step in record.steps] if record else [],
        "planned": list(settings.decision.steps),
        "wish": None if wish is None else {"action": wish.action, "challenger": wish.challenger, "by": wish.by},
        "decisions": log,
    }


def _loop(directory: Path | None = None) -> tuple[dict[str, str], Settings, Engine]:
    from functions.database import connect
    from functions.rollout.settings import read_settings

    found = loop.environ(directory)
    return found, read_settings(found), connect(found)


@contextmanager
def _failures() -> Iterator[None]:
    """What a function would answer with 4xx or 503 is one line here."""
    from common.errors import UnavailableError

    try:
        yield
    except (UnavailableError, ValueError) as error:
        raise CommandError(str(error)) from None


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"


def _summary(look: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    share = 100 if look["percent"] is None else look["percent"]
    rolling = look["challenger"] is not None and look["version"] == look["challenger"]
    for alias, traffic in (("champion", 100 - share), ("challenger", share)):
        of_it = f", {traffic} % of the traffic" if rolling else ""
        table.add_row(alias, Text(f"version {look[alias]}{of_it}" if look[alias] else "none"))
    if rolling:
        table.add_row("steps", Text(" → ".join(f"[{p} %]" if p == share else f"{p} %" for p in found["planned"])))
    table.add_row("phase", Text(f"{look['phase']} ({time.time() - look['at']:.0f} s ago)"))
    table.add_row("why", Text(look["reason"].replace("; ", "\n")))
    if wish := found["wish"]:
        table.add_row("asked for", Text(f"{wish['action']} version {wish['challenger']}, by {wish['by']}"))
    terminal.out.print(table)


def _measures(evidence: Mapping[str, Any]) -> Table:
    """The measures of the two versions that were compared: not always those that have the aliases now."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("measure", style="cyan")
    arms = (f"version {evidence[alias]}" if evidence.get(alias) else alias for alias in ("champion", "challenger"))
    for name in (*arms, "worse by", "bounds", "margin", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for one in evidence["measures"]:
        low, high = one["low"], one["high"]
        bounds = "–" if low is None or high is None else f"{low:+.3f} … {high:+.3f}"
        table.add_row(
            one["name"],
            _number(one["champion"]),
            _number(one["challenger"]),
            _number(one["worse_by"], "+.3f"),
            bounds,
            _number(one["margin"]),
            f"{one['n_champion']} / {one['n_challenger']}",
            Text(one["verdict"], style=_VERDICTS.get(one["verdict"], "")),
        )
    return table


def _log(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("time", "phase", "decision"):
        table.add_column(name, no_wrap=True, style="dim" if name == "time" else "")
    table.add_column("why", overflow="fold")
    for row in reversed(rows):
        when = datetime.fromtimestamp(row["at"]).strftime("%H:%M:%S")
        table.add_row(when, row["phase"], Text(row["action"]), Text(row["reason"].partition(";")[0]))
    return table


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)
