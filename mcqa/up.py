"""`mcqa up` and `mcqa down`: the whole loop on this machine, in the background."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from local.platform.code_digest import code_digest
from local.platform.port_allocation import port_flags, unavailable_ports, with_free_ports
from local.platform.settings import FOLDER, HOST, ROOT, Folder, Ports, Settings
from local.storage import DESCRIPTIONS, check_writable
from mcqa import local, loop, terminal
from mcqa.errors import CommandError, Interrupted
from mcqa.loop import FolderOption

START_SECONDS = 300.0
STOP_SECONDS = 90.0


def up(
    directory: FolderOption = None,
    port: Annotated[int | None, typer.Option(help="Gateway: questions go here.", show_default="8080")] = None,
    api_port: Annotated[int | None, typer.Option(help="Kubernetes API.", show_default="6443")] = None,
    broker_port: Annotated[int | None, typer.Option(help="Event broker.", show_default="8081")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="MLflow server.", show_default="5000")] = None,
    pipelines_port: Annotated[int | None, typer.Option(help="Pipelines API.", show_default="8888")] = None,
    internal_port: Annotated[int | None, typer.Option(help="Gateway, for broker and MLflow.", show_default="0")] = None,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Take a free port instead of each that is busy.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="What is registered as version 1: a folder or hf://owner/model.",
            show_default=Settings().source,
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A value of the ConfigMap `loop`; repeatable."),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CRON", help="A PingSource's schedule, as drift='@every 1m'; repeatable."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=0, help="At most this many of each service, 0 for no cap.", show_default="1")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="End the loop first where it is up; it keeps its settings, too.")
    ] = False,
) -> None:
    """Bring up the whole loop from the cluster's own manifests: model, functions, broker, MLflow, pipelines.

    Ports: 0 takes a free one; what is not given stays as it was at the last start.
    """
    folder = loop.folder(directory)
    kept = folder.settings() if restart else Settings()
    if restart or ending(folder):
        stop(folder)
    if pid := folder.running():
        loop.require_in_place(folder)
        terminal.note(
            f"{loop.named(folder)} is up already, process {pid}: change it with kubectl, or start it again with "
            f"other options: `{local.invocation()} up --restart{_flag(folder)} …`"
        )
        if told := older(folder):
            terminal.note(told)
        _where(folder)
        return
    given = {
        "gateway": port, "api": api_port, "broker": broker_port, "mlflow": mlflow_port, "pipelines": pipelines_port,
        "internal": internal_port,
    }  # fmt: skip
    start(
        folder,
        ports=given,
        free=free_ports,
        source=source or kept.source,
        config={**kept.config, **_pairs(config, "--set")},
        schedules={**kept.schedules, **_pairs(schedule, "--schedule")},
        replicas=kept.replica_cap if replicas is None else replicas,
        say=_say,
    )
    _where(folder)


def down(
    directory: FolderOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Also forget everything: answers, versions, runs.")] = False,
) -> None:
    """End the loop on this machine. What it knows stays for the next `mcqa up`."""
    folder = loop.folder(directory)
    ended = stop(folder)
    terminal.note(f"{loop.named(folder)} is down" if ended else f"no loop was running in {local.shown(folder.path)}")
    if delete and folder.path.exists():
        import shutil

        shutil.rmtree(folder.path)
        terminal.note(f"removed {local.shown(folder.path)}")


def start(
    folder: Folder,
    *,
    ports: dict[str, int | None] | None = None,
    free: bool = False,
    source: str = Settings().source,
    config: dict[str, str] | None = None,
    schedules: dict[str, str] | None = None,
    replicas: int = 1,
    say: Callable[[dict[str, Any]], None] = lambda step: None,
) -> None:
    """Starts the supervisor and returns once everything is up; `say` is told of every step that is done.

    `free`: a port that is busy is replaced by a free one, which is said. CommandError when it ends or takes longer than
    START_SECONDS.
    """
    folder.make()
    before = folder.settings()
    chosen = replace(before.ports, **{name: value for name, value in (ports or {}).items() if value is not None})
    settings = Settings(chosen, config or {}, schedules or {}, _source(source), replicas)
    if free:
        settings = replace(settings, ports=_free(folder, settings.ports))
    _require_ports(folder, settings.ports)
    folder.save(settings)
    folder.status.unlink(missing_ok=True)
    size = folder.log.stat().st_size if folder.log.exists() else 0
    with folder.log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.platform", "--dir", str(folder.path)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    _wait(folder, process, size, say)


def stop(folder: Folder) -> bool:
    """Ends the supervisor and, where one was killed, what it left behind; whether anything ran."""
    pid = folder.running()
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        with (
            terminal.err.status("ending: what was accepted is finished first"),
            _interruptible(f"{loop.named(folder)} goes on ending in the background: `mcqa status` shows it"),
        ):
            while folder.running() == pid:
                if time.monotonic() > deadline:
                    raise CommandError(f"process {pid} did not end within {STOP_SECONDS:.0f} s: see {folder.log}")
                time.sleep(0.1)
    return bool(_end_orphans(folder) or pid)


def ending(folder: Folder) -> bool:
    """Whether the loop is up, but was told to end."""
    return bool(folder.running() and status_of(folder).get("ending"))


def status_of(folder: Folder) -> dict[str, Any]:
    """What the supervisor wrote last; empty before its first word."""
    try:
        found: dict[str, Any] = json.loads(folder.status.read_text())
        return found
    except (OSError, ValueError):
        return {}


def _end_orphans(folder: Folder) -> int:
    import asyncio

    from local.serving.settings import GATEWAY
    from local.serving.workload import find_left_behind

    async def end() -> int:
        places = (folder.processes, folder.serving / GATEWAY, folder.serving)
        found = [one for place in places for one in find_left_behind(place)]
        for one in found:
            await one.stop(10.0)
            one.forget()
        return len(found)

    return asyncio.run(end())


def _wait(folder: Folder, process: subprocess.Popen[bytes], size: int, say: Callable[[dict[str, Any]], None]) -> None:
    told: set[str] = set()
    began = time.monotonic()
    going_on = "still starting in the background: `mcqa status` shows it, `mcqa down` ends it"
    with terminal.err.status("starting") as spinner, _interruptible(going_on):
        while True:
            status = status_of(folder)
            for step in status.get("steps", ()):
                if step["state"] == "done" and step["name"] not in told:
                    told.add(step["name"])
                    spinner.stop()  # a line of stdout would be written behind it
                    say(step)
                    spinner.start()
            if status.get("ready"):
                return
            if process.poll() is not None:
                raise CommandError(f"the loop did not start: {_last_line(folder, size)}")
            pending = [f"{s['name']}: {s['detail']}" if s["state"] == "failed" else s["name"]
                    for s in status.get("steps", ()) if s["state"] in ("running", "failed")]  # fmt: skip
            seconds = time.monotonic() - began
            line = f"starting ({seconds:.0f} s) · {' · '.join(pending) or 'the API'}"
            spinner.update(escape(line[: max(20, terminal.err.width - 4)]))
            if seconds > START_SECONDS:
                raise CommandError(
                    f"not up after {seconds:.0f} s ({'; '.join(pending)}); it goes on trying: "
                    "`mcqa status`, `mcqa logs`"
                )
            time.sleep(0.1)


@contextmanager
def _interruptible(told: str) -> Iterator[None]:
    """What goes on in the background, after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(told) from None


def older(folder: Folder) -> str | None:
    """What to do when the loop that is up runs other code than this checkout has now; None where it does not."""
    told = status_of(folder)
    if not told or told.get("code") == code_digest():
        return None
    return (
        f"{loop.named(folder)} runs older code than this checkout has now: `{local.invocation()} up --restart"
        f"{_flag(folder)}` starts it again, with what it knows"
    )


def _flag(folder: Folder) -> str:
    return "" if folder.path == FOLDER else f" --dir {local.shown(folder.path)}"


def _free(folder: Folder, wanted: Ports) -> Ports:
    """The same ports, but free ones for those that are busy."""
    found = unavailable_ports(folder, wanted)
    chosen = with_free_ports(wanted, list(found))
    for name, reason in found.items():
        terminal.note(f"{reason}: taking {getattr(chosen, name)}")
    return chosen


def _require_ports(folder: Folder, wanted: Ports) -> None:
    """CommandError that names every port that cannot be used, who has it, and what to type instead."""
    if found := unavailable_ports(folder, wanted):
        other = port_flags(with_free_ports(wanted, list(found)), list(found))
        line = f"{local.invocation()} up{_flag(folder)}"
        raise CommandError(f"{'; '.join(found.values())}: try `{line} {other}`, or `{line} --free-ports`")


def _source(source: str) -> str:
    """A folder, relative to where the user stands or else to the checkout: as an absolute path, but relative to the
    checkout below it, so that a checkout can be moved.
    """
    if "://" in source:
        return source
    here = Path(source).expanduser()
    path = here if here.exists() else ROOT / source
    if not path.exists():
        raise CommandError(f"--model {source}: no such folder; a model of the Hugging Face Hub is hf://owner/model")
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"must be NAME=VALUE, found {text!r}", param_hint=flag)
        pairs[name] = value
    return pairs


def _say(step: dict[str, Any]) -> None:
    terminal.hanging(f"[green]✓[/] {step['name']:<22} [dim]{step['seconds']:>5.1f} s[/]  ", str(step["detail"]))


def _where(folder: Folder) -> None:
    found, mcqa, flag = folder.settings().ports, local.invocation(), _flag(folder)
    terminal.out.print(
        f"\n  questions   http://{HOST}:{found.gateway}   (v1, v2)\n"
        f"  MLflow      http://{HOST}:{found.mlflow}\n"
        f"  pipelines   {loop.pipelines_link(folder)}\n"
        f"  kubectl     export KUBECONFIG={local.shown(folder.kubeconfig)}\n\n"
        f"[bold]Next[/]  {mcqa} ask{flag} · {mcqa} status{flag} · {mcqa} demo · {mcqa} down{flag}",
        soft_wrap=True,
    )


def _last_line(folder: Folder, size: int) -> str:
    with folder.log.open("rb") as file:
        file.seek(size)
        lines = file.read().decode(errors="replace").strip().splitlines()
    if lines:
        return lines[-1].removeprefix("local.platform: ")
    code = check_writable(folder.path)  # a log on a full disk says nothing
    return f"cannot write in {folder.path}: {DESCRIPTIONS[code]}" if code else "it said nothing"
