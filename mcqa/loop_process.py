"""The loop as a background process: starts its supervisor, waits until everything is up, ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from local.platform.code_digest import code_digest
from local.platform.port_allocation import port_flags, unavailable_ports, with_free_ports
from local.platform.settings import ROOT, Folder, Ports, Settings
from local.storage import DESCRIPTIONS, check_writable
from mcqa import loop, terminal
from mcqa.errors import CommandError, CommandInterruptedError
from mcqa.loop import dir_flag
from mcqa.paths import mcqa_command

START_SECONDS = 300.0
STOP_SECONDS = 90.0

Step = dict[str, Any]
"""A step of the start as the supervisor reports it: `name`, `state`, `detail`, `seconds`."""


@dataclass(frozen=True, slots=True)
class StartOptions:
    """What `start` is asked for: `ports` by name, None to keep one; `free_ports` replaces busy ones by free ones.

    `config` are values of the ConfigMap `loop`, `schedules` PingSources' by name, `replicas` a cap per service, 0 for
    none. `ui`: whether the page runs; `ui_actions`: whether people may act on it.
    `pipelines_ui`: a folder with a build of Kubeflow's UI, "" for none.
    """

    ports: dict[str, int | None] = field(default_factory=dict)
    free_ports: bool = False
    source: str = Settings().source
    config: dict[str, str] = field(default_factory=dict)
    schedules: dict[str, str] = field(default_factory=dict)
    replicas: int = 1
    ui: bool = True
    ui_actions: bool = False
    pipelines_ui: str = ""


def start(folder: Folder, options: StartOptions, on_step: Callable[[Step], None] = lambda step: None) -> None:
    """Starts the supervisor and returns once everything is up; `on_step` gets every step that is done.

    CommandError when it ends or takes longer than START_SECONDS.
    """
    folder.make()
    selected = {name: port for name, port in options.ports.items() if port is not None}
    ports = replace(folder.settings().ports, **selected)
    source = model_source(options.source)
    settings = Settings(
        ports,
        options.config,
        options.schedules,
        source,
        options.replicas,
        options.ui,
        options.ui_actions,
        options.pipelines_ui,
    )
    if options.free_ports:
        settings = replace(settings, ports=_replace_busy(folder, settings))
    _require_free(folder, settings)
    folder.save(settings)
    folder.status.unlink(missing_ok=True)
    log_size = folder.log.stat().st_size if folder.log.exists() else 0
    with folder.log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.platform", "--dir", str(folder.path)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    _wait(folder, process, log_size, on_step)


def stop(folder: Folder) -> bool:
    """Ends the supervisor and, where one was killed, what it left behind; whether anything was running."""
    pid = folder.running()
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        with (
            terminal.err.status("stopping: accepted work is finished first"),
            _interruptible(f"{loop.name(folder)} continues to stop in the background: `mcqa status` shows it"),
        ):
            while folder.running() == pid:
                if time.monotonic() > deadline:
                    raise CommandError(f"process {pid} did not end within {STOP_SECONDS:.0f} s: see {folder.log}")
                time.sleep(0.1)
    return bool(_end_orphans(folder) or pid)


def is_stopping(folder: Folder) -> bool:
    """Whether the loop is still running, but was asked to end."""
    return bool(folder.running() and read_status(folder).get("ending"))


def read_status(folder: Folder) -> dict[str, Any]:
    """The status that the supervisor wrote last; empty before the first."""
    try:
        status: dict[str, Any] = json.loads(folder.status.read_text())
    except (OSError, ValueError):
        return {}
    return status


def outdated_code(folder: Folder) -> str | None:
    """What to do when the running loop's code is older than this checkout's; None where it is the same."""
    status = read_status(folder)
    if not status or status.get("code") == code_digest():
        return None
    return (
        f"{loop.name(folder)} runs older code than this checkout has now: `{mcqa_command()} up --restart"
        f"{dir_flag(folder)}` restarts it with its data"
    )


def _end_orphans(folder: Folder) -> int:
    import asyncio

    from local.serving.settings import GATEWAY
    from local.serving.workload import find_left_behind

    async def end() -> int:
        places = (folder.processes, folder.serving / GATEWAY, folder.serving)
        orphans = [process for place in places for process in find_left_behind(place)]
        for process in orphans:
            await process.stop(10.0)
            process.forget()
        return len(orphans)

    return asyncio.run(end())


def _wait(folder: Folder, process: subprocess.Popen[bytes], log_size: int, on_step: Callable[[Step], None]) -> None:
    reported: set[str] = set()
    began = time.monotonic()
    in_background = "still starting in the background: `mcqa status` shows it, `mcqa down` ends it"
    with terminal.err.status("starting") as spinner, _interruptible(in_background):
        while True:
            status = read_status(folder)
            for step in status.get("steps", ()):
                if step["state"] == "done" and step["name"] not in reported:
                    reported.add(step["name"])
                    spinner.stop()  # a line of stdout would be written behind it
                    on_step(step)
                    spinner.start()
            if status.get("ready") and _page_is_settled(status):
                return
            if process.poll() is not None:
                raise CommandError(f"the loop did not start: {_last_line(folder, log_size)}")
            unfinished = [
                _unfinished(step) for step in status.get("steps", ()) if step["state"] in ("running", "failed")
            ]
            seconds = time.monotonic() - began
            line = f"starting ({seconds:.0f} s) · {' · '.join(unfinished) or _last(status)}"
            spinner.update(escape(line[: max(20, terminal.err.width - 4)]))
            if seconds > START_SECONDS:
                missing = "; ".join(unfinished) or _last(status)
                raise CommandError(
                    f"not up after {seconds:.0f} s ({missing}); it is still trying: `mcqa status`, `mcqa logs`"
                )
            time.sleep(0.1)


def _page_is_settled(status: dict[str, Any]) -> bool:
    """It begins last, and is the first address that people open. A page that fails is not waited for."""
    return all(part["state"] in ("ready", "failed") for part in status.get("parts", ()) if part["name"] == "ui")


def _unfinished(step: Step) -> str:
    return f"{step['name']}: {step['detail']}" if step["state"] == "failed" else str(step["name"])


def _last(status: dict[str, Any]) -> str:
    """What is awaited while no step is under way."""
    return "the page" if status.get("ready") else "the API"


@contextmanager
def _interruptible(message: str) -> Iterator[None]:
    """Ctrl-C ends the verb, with a message about what continues in the background."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandInterruptedError(message) from None


def _replace_busy(folder: Folder, settings: Settings) -> Ports:
    """The same ports, but free ones instead of those that are busy."""
    reasons = unavailable_ports(folder, settings.used_ports)
    free = with_free_ports(settings.ports, list(reasons))
    for name, reason in reasons.items():
        terminal.note(f"{reason}: using {getattr(free, name)}")
    return free


def _require_free(folder: Folder, settings: Settings) -> None:
    """CommandError that names every port that cannot be used, who has it, and what to type instead."""
    if reasons := unavailable_ports(folder, settings.used_ports):
        options = port_flags(with_free_ports(settings.ports, list(reasons)), list(reasons))
        command = f"{mcqa_command()} up{dir_flag(folder)}"
        raise CommandError(f"{'; '.join(reasons.values())}: try `{command} {options}`, or `{command} --free-ports`")


def model_source(source: str) -> str:
    """A folder, relative to the working directory or else to the checkout: as an absolute path, but relative to the
    checkout below it, so that a checkout can be moved.
    """
    if "://" in source:
        return source
    here = Path(source).expanduser()
    path = here if here.exists() else ROOT / source
    if not path.exists():
        raise CommandError(f"--model {source}: no such folder; a model on the Hugging Face Hub is hf://owner/model")
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _last_line(folder: Folder, log_size: int) -> str:
    """The last line of the supervisor's log that was written after its first `log_size` bytes."""
    with folder.log.open("rb") as file:
        file.seek(log_size)
        lines = file.read().decode(errors="replace").strip().splitlines()
    if lines:
        return lines[-1].removeprefix("local.platform: ")
    code = check_writable(folder.path)  # nothing is logged on a full disk
    return f"cannot write in {folder.path}: {DESCRIPTIONS[code]}" if code else "it printed nothing"
