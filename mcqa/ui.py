"""`mcqa ui`: the page's address, open in a browser; the page of a loop elsewhere is served from here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from local.platform.settings import HOST, ROOT, Folder, Ports
from mcqa import addresses, loop, loop_process, server_process, targets, terminal
from mcqa.addresses import AddressSource
from mcqa.errors import CommandError
from mcqa.loop import FolderOption, dir_flag
from mcqa.paths import mcqa_command
from mcqa.polling import wait_for

START_SECONDS = 60.0
STOP_SECONDS = 10.0
HEALTH = "/_stcore/health"
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def ui(
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")] = True,
    port: Annotated[
        int | None,
        typer.Option(help="For the page of a loop elsewhere, 0 for any free one.", show_default=f"{Ports().ui}"),
    ] = None,
    directory: FolderOption = None,
) -> None:
    """Print the page's address and open it: ask, and watch the loop.

    If the environment names a loop elsewhere (MCQA_DATABASE_URL), its page is served from here until Ctrl-C.
    """
    target = targets.locate(addresses.DATABASE, directory=directory)
    if target.source is AddressSource.ENVIRONMENT:
        if target.address is None:
            raise CommandError(f"{target.reason}; `--dir FOLDER` names a loop on this machine")
        _serve(server_process.claim_port(port, "--port", Ports().ui), browser)
        return
    if port is not None:
        raise CommandError(f"the page of {loop.name(loop.folder(directory))} has the port of `mcqa up --ui-port`")
    _show(_address_of(loop.require_running(loop.folder(directory))), browser)


def _address_of(folder: Folder) -> str:
    """The page's address once it answers. CommandError when the loop runs without it, or it does not start."""
    settings = folder.settings()
    if not settings.ui:
        raise CommandError(
            f"{loop.name(folder)} runs without its page: `{mcqa_command()} up --restart --ui{dir_flag(folder)}`"
        )
    part = wait_for(lambda: _ready_or_failed(loop_process.read_status(folder)), START_SECONDS, "the page")
    if part is None or part["state"] != "ready":
        why = f": {part['message']}" if part else f" after {START_SECONDS:.0f} s"
        raise CommandError(f"the page of {loop.name(folder)} does not run{why}; see `{mcqa_command()} logs ui`")
    return f"http://{HOST}:{settings.ports.ui}"


def _ready_or_failed(status: Mapping[str, Any]) -> dict[str, Any] | None:
    """The page as the supervisor sees it; None while it is starting."""
    parts = (part for part in status.get("parts", ()) if part["name"] == "ui")
    return next((part for part in parts if part["state"] in ("ready", "failed")), None)


def _serve(port: int, browser: bool) -> None:
    """The page in the foreground, in this process's environment."""
    with _running([sys.executable, "-m", "ui", "--host", HOST, "--port", str(port)]) as process:
        url = f"http://{HOST}:{port}"
        if not wait_for(lambda: _has_started(process, url), START_SECONDS, "the page"):
            code = process.poll()
            why = f"it exited with code {code}" if code is not None else f"not ready after {START_SECONDS:.0f} s"
            raise CommandError(f"the page did not start: {why}")
        _show(url, browser)
        terminal.out.print("serving; Ctrl-C stops it", style="dim")
        try:
            code = process.wait()
        except KeyboardInterrupt:
            return
        raise CommandError(f"the page exited with code {code}")


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to our stderr, ended when the block is left."""
    # A session of its own: it gets one signal from us, and not Ctrl-C as well.
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _has_started(process: subprocess.Popen[bytes], url: str) -> bool | None:
    """False when the process has ended; None while it starts."""
    import httpx2

    if process.poll() is not None:
        return False
    try:
        return httpx2.get(url + HEALTH, timeout=2.0, trust_env=False).is_success or None
    except httpx2.HTTPError:
        return None


def _show(url: str, browser: bool) -> None:
    terminal.line(url)
    if browser and _has_display(os.environ, sys.platform):
        import webbrowser

        webbrowser.open(url)


def _has_display(environ: Mapping[str, str], platform: str) -> bool:
    """Without one, `webbrowser` would start a text browser in this terminal."""
    return platform != "linux" or any(environ.get(name) for name in DISPLAYS)
