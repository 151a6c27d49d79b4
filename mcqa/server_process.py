"""A model server as a child process: started, watched until its model answers, ended with SIGTERM."""

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
    """A port that nothing listens on at the moment."""
    return free_ports(1)[0]


def claim_port(port: int | None, flag: str, default: int = 0) -> int:
    """`port`, or a free one for 0. None: `default`, or a free one where that is taken, and that is said.

    CommandError naming the flag when something listens on `port` already.
    """
    wanted = default if port is None else port
    problem = listeners.bind_problem(wanted) if wanted else None
    if problem is None:
        return wanted or free_port()
    holder = listeners.find_listeners([wanted]).get(wanted)
    told = f"port {wanted} {problem}" + (f" by {holder}" if holder else "")
    if port is None:
        chosen = listeners.next_free_port(wanted)
        terminal.note(f"{told}: taking {chosen} ({flag} chooses another)")
        return chosen
    raise CommandError(f"{told}: give another with {flag}, 0 for any free one")


@contextmanager
def running(
    model: str | None, port: int, grpc_port: int, *, waiting: Callable[[float], None] = lambda seconds: None
) -> Iterator[subprocess.Popen[bytes]]:
    """The server, ready to answer; ended when the block is left, also by SIGTERM or a closed terminal.

    `waiting` is called several times a second with the seconds waited. CommandError with the log's last line when the
    server ends before it is ready.
    """
    log = Path(tempfile.mkstemp(prefix="mcqa-server-", suffix=".log")[1])
    with log.open("wb") as sink, _signals_raise():
        # A session of its own: Ctrl-C reaches us alone, and the server gets one SIGTERM rather than two signals.
        process = subprocess.Popen(
            command(model, port, grpc_port),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, listeners.CHECKOUT_VARIABLE: str(ROOT)},
        )
        try:
            _wait(process, f"http://{defaults.HOST}:{port}", log, waiting)
            yield process
        finally:
            _stop(process)
    log.unlink(missing_ok=True)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, waiting: Callable[[float], None]) -> None:
    probe = RestClient(url)
    start = time.monotonic()
    while not probe.ready():
        if process.poll() is not None:
            raise CommandError(f"the server ended with code {process.returncode}: {_last_line(log)} (log: {log})")
        waited = time.monotonic() - start
        if waited > START_TIMEOUT:
            raise CommandError(f"the server was not ready after {START_TIMEOUT:.0f} s (log: {log})")
        waiting(waited)
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
    """What the server said last: the message of a JSON log line, or the line."""
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
