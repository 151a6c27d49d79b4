"""`mcqa pipeline`: compile the retraining pipeline, upload and list it, request a run."""

from __future__ import annotations

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
from mcqa import addresses, pipeline_run, targets, terminal
from mcqa.addresses import AddressSource
from mcqa.errors import CommandError, unavailable_as_command_error
from mcqa.loop import FolderOption
from mcqa.readmodels.pipeline import PipelineFacts, read, run_error

if TYPE_CHECKING:
    from common.kubeflow import KubeflowClient

pipeline_app = typer.Typer(
    no_args_is_help=True, help="The retraining pipeline: compile, upload and list it; request a run."
)

COMPILED = Path(".cache/retraining.yaml")
_STATES = {"SUCCEEDED": "green", "FAILED": "bold red", "CANCELED": "yellow", "RUNNING": "cyan"}

UrlOption = Annotated[
    str | None, typer.Option(help="The pipeline server.", show_default="KFP_ENDPOINT, or the local one")
]
NamespaceOption = Annotated[str | None, typer.Option(help="The profile, on multi-user Kubeflow.")]
TokenOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="A service account's token.", show_default="MCQA_KFP_TOKEN_PATH, where set"),
]


@pipeline_app.command(
    "compile",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Write the pipeline as Kubeflow's YAML, for a cluster; its own `-h` lists image, resources and accelerators.",
)
def compile_(context: typer.Context) -> None:
    from pipelines.retraining.__main__ import main

    raise typer.Exit(main(["compile", *context.args]))


@pipeline_app.command()
def upload(
    file: Annotated[Path, typer.Argument(help="The compiled pipeline.")] = COMPILED,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    directory: FolderOption = None,
) -> None:
    """Make a compiled pipeline the newest version on its server, unless it already is."""
    if not file.is_file():
        raise CommandError(f"there is no file {file}: compile it with `mcqa pipeline compile {file}`")
    with _server(url, namespace, token, directory) as server:
        version, new = server.upload(file)
        _announce(url, directory)
        terminal.out.print(
            f"{file}: {'uploaded as' if new else 'is already'} version {version}", markup=False, soft_wrap=True
        )


@pipeline_app.command("list")
def list_(
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    directory: FolderOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show the pipeline's newest versions, Kubeflow's own schedules of it, and the latest runs."""
    with _server(url, namespace, token, directory) as server:
        facts = read(server)
    if as_json:
        terminal.json_line(facts, indent=2)
        return
    _announce(url, directory)
    _print(facts)
    for newest in facts["runs"][:1]:
        environ = {"KFP_ENDPOINT": url} if url else _environ(url, directory)
        terminal.note(f"the newest: {links.pipeline_run(environ, newest['run_id'])}")


pipeline_app.command()(pipeline_run.run)


@contextmanager
def _server(
    url: str | None,
    namespace: str | None,
    token: Path | None,
    directory: Path | None,
) -> Iterator[KubeflowClient]:
    """The server that options or environment name; its errors are one line."""
    from common.kubeflow import KubeflowClient

    if token is not None and not token.is_file():
        raise CommandError(f"there is no token file {token}")
    options = {
        "KFP_ENDPOINT": url,
        "MCQA_KFP_NAMESPACE": namespace,
        "MCQA_KFP_TOKEN_PATH": None if token is None else str(token),
    }
    with unavailable_as_command_error(ValueError):
        yield KubeflowClient({**_environ(url, directory), **{name: value for name, value in options.items() if value}})


def _environ(url: str | None, directory: Path | None) -> dict[str, str]:
    """The process's own where a server is named; else the loop's."""
    target = targets.locate(addresses.PIPELINES, url, directory)
    if target.address and target.source in (AddressSource.FLAG, AddressSource.ENVIRONMENT):
        return dict(os.environ)
    if target.source is AddressSource.ENVIRONMENT:
        raise CommandError(target.reason)
    return targets.environ(directory)


def _announce(url: str | None, directory: Path | None) -> None:
    targets.announce(directory, addresses.PIPELINES, url)


def _print(facts: PipelineFacts) -> None:
    out = terminal.out
    versions = ((version["display_name"], version["created_at"]) for version in facts["versions"])
    out.print(_table("version", ("created",), versions))
    out.print()
    schedules = [(s["display_name"], s["status"].lower(), _when(s["trigger"])) for s in facts["schedules"]]
    out.print(_table("schedule", ("state", "when"), schedules) if schedules else "no schedules")
    out.print()
    runs = [(run["display_name"], run["created_at"], run["state"], run_error(run)[:200]) for run in facts["runs"]]
    out.print(_table("run", ("created", "state", "error"), runs) if runs else "no runs yet")


def _table(name: str, others: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    table = terminal.plain_table()
    table.add_column(name, style="cyan", overflow="fold")
    for other in others:
        table.add_column(other, overflow="fold", no_wrap=other != "error")
    for row in rows:
        table.add_row(*(Text(_local_time(cell), style=_STATES.get(cell, "")) for cell in row))
    return table


def _local_time(text: str) -> str:
    """A time from the API in local time; any other text as it is."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


def _when(trigger: Mapping[str, Any]) -> str:
    if cron := (trigger.get("cron_schedule") or {}).get("cron"):
        return str(cron)
    return f"every {(trigger.get('periodic_schedule') or {}).get('interval_second')} s"
