"""A model server as a child process: started, watched until its model is ready, ended with SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from local.platform import listeners
from local.platform.settings import ROOT
from local.ports import free_ports
from mcqa import defaults, terminal
from mcqa.client import RestClient
from mcqa.errors import CommandError
from mcqa.serve import command

START_TIMEOUT = 600.0
"""Seconds: a real-size model may come from a slow disk."""
STOP_TIMEOUT = 40.0
"""Seconds: a little more than the server's own grace period."""


def free_port() -> int:
    """A port that nothing is listening on at the moment."""
    return free_ports(1)[0]


def claim_port(port: int | None, flag: str, default: int = 0) -> int:
    """`port`, or a free one for 0. For None `default`, or, with a note, a free one where that is in use.

    CommandError naming the flag when something is already listening on `port`.
    """
    preferred = default if port is None else port
    problem = listeners.bind_problem(preferred) if preferred else None
    if problem is None:
        return preferred or free_port()
    owner = listeners.find_listeners([preferred]).get(preferred)
    message = f"port {preferred} {problem}" + (f" by {owner}" if owner else "")
    if port is None:
        free = listeners.next_free_port(preferred)
        terminal.note(f"{message}: using {free} ({flag} chooses another)")
        return free
    raise CommandError(f"{message}: give another with {flag}, 0 for any free one")


@contextmanager
def running(
    model: str | None, port: int, grpc_port: int, *, on_wait: Callable[[float], None] = lambda seconds: None
) -> Iterator[subprocess.Popen[bytes]]:
    """The server, ready to answer; ended when the block is left, also by SIGTERM or a closed terminal.

    `on_wait` is called several times a second with the seconds waited. CommandError with the log's last line when the
    server ends before it is ready.
    """
    log = Path(tempfile.mkstemp(prefix="mcqa-server-", suffix=".log")[1])
    with log.open("wb") as sink, _signals_raise():
        # A session of its own: Ctrl-C reaches only us, and the server gets one SIGTERM rather than two signals.
        process = subprocess.Popen(
            command(model, port, grpc_port),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, listeners.CHECKOUT_VARIABLE: str(ROOT)},
        )
        try:
            _wait(process, f"http://{defaults.HOST}:{port}", log, on_wait)
            yield process
        finally:
            _stop(process)
    log.unlink(missing_ok=True)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, on_wait: Callable[[float], None]) -> None:
    probe = RestClient(url)
    start = time.monotonic()
    while not probe.ready():
        if process.poll() is not None:
            raise CommandError(f"the server exited with code {process.returncode}: {_last_line(log)} (log: {log})")
        waited = time.monotonic() - start
        if waited > START_TIMEOUT:
            raise CommandError(f"the server was not ready after {START_TIMEOUT:.0f} s (log: {log})")
        on_wait(waited)
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    """The server's last line of output, or its message where it is JSON."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if not lines:
        return "it printed nothing"
    try:
        return str(json.loads(lines[-1])["message"])
    except (ValueError, KeyError, TypeError):
        return lines[-1][-300:]


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the block as SystemExit, so that no server outlives its starter."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
