"""`mcqa up` and `mcqa down`: the whole loop on this machine, in the background."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from local.platform.settings import HOST, Folder, Settings
from mcqa import loop, loop_process, terminal
from mcqa.loop import FolderOption, dir_flag
from mcqa.loop_process import StartOptions, Step
from mcqa.paths import displayed, mcqa_command

NO_SETTINGS = Settings()


def up(
    directory: FolderOption = None,
    port: Annotated[int | None, typer.Option(help="Gateway, for questions.", show_default="8080")] = None,
    api_port: Annotated[int | None, typer.Option(help="Kubernetes API.", show_default="6443")] = None,
    broker_port: Annotated[int | None, typer.Option(help="Event broker.", show_default="8081")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="MLflow server.", show_default="5000")] = None,
    pipelines_port: Annotated[int | None, typer.Option(help="Pipelines API.", show_default="8888")] = None,
    ui_port: Annotated[int | None, typer.Option(help="The page.", show_default="8501")] = None,
    internal_port: Annotated[
        int | None, typer.Option(help="Gateway, for the broker and MLflow.", show_default="0")
    ] = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Use free ports instead of busy ones.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Model to register as version 1: a folder or hf://owner/model.",
            show_default=NO_SETTINGS.source,
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A value of the ConfigMap `loop`; repeatable."),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CRON", help="A PingSource's schedule, like drift='@every 1m'; repeatable."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=0, help="Most replicas of each service, 0 for no cap.", show_default="1")
    ] = None,
    ui: Annotated[bool | None, typer.Option("--ui/--no-ui", help="Whether the page runs.", show_default="--ui")] = None,
    ui_actions: Annotated[
        bool | None,
        typer.Option(
            "--ui-actions/--no-ui-actions",
            help="Whether people may act on the page: promote, abort, replay.",
            show_default="--no-ui-actions",
        ),
    ] = None,
    pipelines_ui: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="A build of Kubeflow Pipelines' UI, to serve in place of the small pages; '' for none.",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Stop a running loop first; its settings are kept.")
    ] = False,
) -> None:
    """Start the whole loop from the cluster's own manifests: model, functions, broker, MLflow, pipelines, page.

    A port of 0 means any free one; ports that are not given stay as they were at the last start.
    """
    folder = loop.folder(directory)
    kept = folder.settings() if restart else NO_SETTINGS
    if restart or loop_process.is_stopping(folder):
        loop_process.stop(folder)
    if pid := folder.running():
        _report_running(folder, pid)
        return
    options = StartOptions(
        ports={
            "gateway": port, "api": api_port, "broker": broker_port, "mlflow": mlflow_port,
            "pipelines": pipelines_port, "ui": ui_port, "internal": internal_port,
        },
        free_ports=free_ports,
        source=source or kept.source,
        config={**kept.config, **_pairs(config, "--set")},
        schedules={**kept.schedules, **_pairs(schedule, "--schedule")},
        replicas=kept.replica_cap if replicas is None else replicas,
        ui=kept.ui if ui is None else ui,
        ui_actions=kept.ui_actions if ui_actions is None else ui_actions,
        pipelines_ui=kept.pipelines_ui if pipelines_ui is None else _ui_folder(pipelines_ui),
    )  # fmt: skip
    loop_process.start(folder, options, _print_step)
    _ask_for_reconciliation(folder)
    _print_addresses(folder)


def down(
    directory: FolderOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Also delete all data: answers, versions, runs.")] = False,
) -> None:
    """Stop the loop on this machine. Its data is kept for the next `mcqa up`."""
    folder = loop.folder(directory)
    stopped = loop_process.stop(folder)
    terminal.note(f"{loop.name(folder)} is down" if stopped else f"no loop was running in {displayed(folder.path)}")
    if delete and folder.path.exists():
        shutil.rmtree(folder.path)
        terminal.note(f"removed {displayed(folder.path)}")


def _ask_for_reconciliation(folder: Folder) -> None:
    """The rollout's last look was before this start, and its next tick is up to a minute away."""
    from common.errors import UnavailableError
    from common.event_types import ROLLOUT_REQUESTED, SOURCE_CLI
    from functions.sink import Sink, digest, loop_event, traceparent

    now = time.time()
    key = digest(ROLLOUT_REQUESTED, SOURCE_CLI, now)
    with contextlib.suppress(UnavailableError, ValueError, OSError):  # the tick comes all the same
        sink = Sink(json.loads(folder.environment.read_text("utf-8")))
        sink.send(loop_event(ROLLOUT_REQUESTED, SOURCE_CLI, key, {"action": "look"}, now, traceparent(key)))


def _report_running(folder: Folder, pid: int) -> None:
    loop.require_not_moved(folder)
    terminal.note(
        f"{loop.name(folder)} is already running, process {pid}: change it with kubectl, or restart it with "
        f"other options: `{mcqa_command()} up --restart{dir_flag(folder)} …`"
    )
    if hint := loop_process.outdated_code(folder):
        terminal.note(hint)
    _print_addresses(folder)


def _ui_folder(text: str) -> str:
    from local.pipelines.kubeflow_ui_files import UiFolderError, check_folder

    try:
        return str(check_folder(Path(text))) if text else ""
    except UiFolderError as error:
        raise typer.BadParameter(str(error), param_hint="--pipelines-ui") from None


def _pairs(texts: Sequence[str] | None, flag: str) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"must be NAME=VALUE, found {text!r}", param_hint=flag)
        pairs[name] = value
    return pairs


def _print_step(step: Step) -> None:
    terminal.hanging(f"[green]✓[/] {step['name']:<22} [dim]{step['seconds']:>5.1f} s[/]  ", str(step["detail"]))


def _print_addresses(folder: Folder) -> None:
    settings, mcqa, flag = folder.settings(), mcqa_command(), dir_flag(folder)
    ports = settings.ports
    page = f"  page        http://{HOST}:{ports.ui}\n" if settings.ui else ""
    terminal.out.print(
        f"\n{page}"
        f"  questions   http://{HOST}:{ports.gateway}   (v1, v2)\n"
        f"  MLflow      http://{HOST}:{ports.mlflow}\n"
        f"  pipelines   {loop.pipelines_link(folder)}\n"
        f"  kubectl     export KUBECONFIG={displayed(folder.kubeconfig)}\n\n"
        f"[bold]Next[/]  {mcqa} ask{flag} · {mcqa} ui{flag} · {mcqa} status{flag} · {mcqa} demo · {mcqa} down{flag}",
        soft_wrap=True,
    )
