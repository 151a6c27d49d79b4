"""`mcqa pipeline`: the retraining pipeline, compiled, on its server, asked for, and on a schedule."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from common import links
from mcqa import addresses, loop, request, terminal
from mcqa.addresses import Chosen
from mcqa.errors import CommandError
from mcqa.loop import FolderOption

if TYPE_CHECKING:
    from pipelines.kubeflow import Kubeflow

pipeline_app = typer.Typer(
    no_args_is_help=True, help="The retraining pipeline: compile, upload, list it; ask for a run; put it on a schedule."
)

COMPILED = Path(".cache/retraining.yaml")
WEEKLY = "0 0 3 ? * MON"
_STATES = {"SUCCEEDED": "green", "FAILED": "bold red", "CANCELED": "yellow", "RUNNING": "cyan"}

Url = Annotated[str | None, typer.Option(help="The pipeline server.", show_default="KFP_ENDPOINT, or the local one")]
Namespace = Annotated[str | None, typer.Option(help="The profile, on multi-user Kubeflow.")]
Experiment = Annotated[str | None, typer.Option(help="The runs' experiment, made where it is missing.")]
Token = Annotated[
    Path | None,
    typer.Option("--token-file", help="A service account's token.", show_default="MCQA_KFP_TOKEN_PATH, where it is"),
]


@pipeline_app.command(
    "compile",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Write the pipeline as Kubeflow's YAML, for a cluster: `-h` lists image, resources and accelerators.",
)
def compile_(context: typer.Context) -> None:
    from pipelines.retraining.__main__ import main

    raise typer.Exit(main(["compile", *context.args]))


@pipeline_app.command()
def upload(
    file: Annotated[Path, typer.Argument(help="The compiled pipeline.")] = COMPILED,
    url: Url = None,
    namespace: Namespace = None,
    token: Token = None,
    directory: FolderOption = None,
) -> None:
    """Make a compiled pipeline the newest version on its server, unless it is that already."""
    if not file.is_file():
        raise CommandError(f"{file} is not there: compile it with `mcqa pipeline compile {file}`")
    with _server(url, namespace, token, directory) as server:
        version, new = server.upload(file)
        _say(url, directory)
        terminal.out.print(
            f"{file}: {'uploaded as' if new else 'is already'} version {version}", markup=False, soft_wrap=True
        )


@pipeline_app.command("list")
def list_(
    url: Url = None,
    namespace: Namespace = None,
    token: Token = None,
    directory: FolderOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """Show the pipeline's newest versions, the schedules and the latest runs."""
    with _server(url, namespace, token, directory) as server:
        found = {"versions": server.versions(), "schedules": server.schedules(), "runs": server.latest_runs()}
    if as_json:
        for version in found["versions"]:
            version.pop("pipeline_spec", None)
        terminal.json_line(found, indent=2)
        return
    _say(url, directory)
    terminal.out.print(_table("version", ("made",), ((v["display_name"], v["created_at"]) for v in found["versions"])))
    terminal.out.print()
    rows = [(s["display_name"], s["status"].lower(), _when(s["trigger"])) for s in found["schedules"]]
    terminal.out.print(_table("schedule", ("state", "when"), rows) if rows else "no schedules")
    terminal.out.print()
    runs = [(r["display_name"], r["created_at"], r["state"], _error(r)) for r in found["runs"]]
    terminal.out.print(_table("run", ("made", "state", "error"), runs) if runs else "no runs yet")
    for newest in found["runs"][:1]:
        environ = {"KFP_ENDPOINT": url} if url else _environ(url, directory)
        terminal.note(f"the newest: {links.pipeline_run(environ, newest['run_id'])}")


pipeline_app.command()(request.run)


@pipeline_app.command()
def schedule(
    cron: Annotated[str | None, typer.Option(help="Second minute hour day month weekday.", show_default=WEEKLY)] = None,
    every: Annotated[
        int | None, typer.Option(min=1, help="Instead of cron: so many seconds from one to the next.")
    ] = None,
    name: Annotated[str, typer.Option(help="There is one schedule of a name.")] = "weekly",
    parameters: Annotated[
        str | None, typer.Option(help="The pipeline's parameters, JSON.", show_default="MCQA_RETRAIN_PARAMETERS")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Take it away; its runs stay.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    experiment: Experiment = None,
    service_account: Annotated[str | None, typer.Option(help="What the steps run as.")] = None,
    token: Token = None,
    directory: FolderOption = None,
) -> None:
    """Have the server itself start runs: weekly, or as told. Doing it again changes the schedule, or nothing.

    Such runs learn from all feedback and take the champion that there is then. The loop has a weekly request to the
    retrain function already, which keeps to one run at a time: this is for a server without the functions.
    """
    from pipelines.kubeflow import Schedule

    if cron and every:
        raise CommandError("give either --cron or --every")
    with _server(url, namespace, token, directory, experiment, service_account) as server:
        _say(url, directory)
        if delete:
            count = server.unschedule(name)
            terminal.out.print(f"schedule {name}: {'deleted' if count else 'there was none'}", markup=False)
            return
        wanted = Schedule(
            name, "" if every else cron or WEEKLY, every or 0, _parameters(parameters, _environ(url, directory))
        )
        key, change = server.schedule(wanted)
        terminal.out.print(f"schedule {name}: {change}, {_when(wanted.trigger)}, {key}", markup=False, soft_wrap=True)


@contextmanager
def _server(
    url: str | None,
    namespace: str | None,
    token: Path | None,
    directory: Path | None,
    experiment: str | None = None,
    service_account: str | None = None,
) -> Iterator[Kubeflow]:
    """The server that options or environment name; its errors are one line."""
    from common.errors import UnavailableError
    from pipelines.kubeflow import Kubeflow

    if token is not None and not token.is_file():
        raise CommandError(f"there is no token file {token}")
    given = {
        "KFP_ENDPOINT": url,
        "MCQA_KFP_NAMESPACE": namespace,
        "MCQA_KFP_EXPERIMENT": experiment,
        "MCQA_KFP_SERVICE_ACCOUNT": service_account,
        "MCQA_KFP_TOKEN_PATH": None if token is None else str(token),
    }
    try:
        yield Kubeflow({**_environ(url, directory), **{name: value for name, value in given.items() if value}})
    except (UnavailableError, ValueError) as error:
        raise CommandError(str(error)) from None


def _environ(url: str | None, directory: Path | None) -> dict[str, str]:
    """The process's own where a server is named; else the loop's."""
    target = loop.place_of(addresses.PIPELINES, url, directory)
    if target.address and target.chosen in (Chosen.FLAG, Chosen.ENVIRONMENT):
        return dict(os.environ)
    if target.chosen is Chosen.ENVIRONMENT:
        raise CommandError(target.why)
    return loop.environ(directory)


def _say(url: str | None, directory: Path | None) -> None:
    loop.say(directory, addresses.PIPELINES, url)


def _parameters(given: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    text = given or environ.get("MCQA_RETRAIN_PARAMETERS") or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CommandError(f'parameters must be a JSON object like {{"seed": 1}}, found {text[:80]!r}')
    return found


def _table(name: str, others: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(name, style="cyan", overflow="fold")
    for other in others:
        table.add_column(other, overflow="fold", no_wrap=other != "error")
    for row in rows:
        table.add_row(*(Text(_moment(cell), style=_STATES.get(cell, "")) for cell in row))
    return table


def _moment(text: str) -> str:
    """A time of the API in local time; any other text as it is."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


def _when(trigger: Mapping[str, Any]) -> str:
    if cron := (trigger.get("cron_schedule") or {}).get("cron"):
        return str(cron)
    return f"every {(trigger.get('periodic_schedule') or {}).get('interval_second')} s"


def _error(run: Mapping[str, Any]) -> str:
    from functions.retrain.decision import broken

    return " ".join(str((run.get("error") or {}).get("message") or broken(run)).split())[:200]
