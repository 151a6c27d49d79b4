"""The processes of a run, marked in their environment so that they can be found again after the server was killed.

A run's process is started in a session of its own and outlives the server. It holds `lock` in the run's folder as
long as it lives; what it starts inherits the mark and the lock.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

MARK_VARIABLE = "EMBEDDED_PIPELINE_RUN"
SUPERSEDED = 3
"""The exit status of a process that found its run taken by another, cancelled or finished."""


def start(folder: Path, run: str, attempt: int, files: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts the process of one attempt at a run; its output goes to `run.log` in `files`."""
    files.mkdir(parents=True, exist_ok=True)
    command = (sys.executable, "-m", "local.pipelines.runner", str(folder), run, str(attempt))
    with (files / "run.log").open("ab") as log:
        return subprocess.Popen(
            command, env={**env, MARK_VARIABLE: mark(folder, run)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def mark(folder: Path, run: str) -> str:
    return f"{folder.resolve()}:{run}"


def find_all(marker: str) -> list[int]:
    """The processes that carry a mark, without zombies."""
    if not Path("/proc/self/environ").exists():
        return _listed(marker)
    entry, pids = f"{MARK_VARIABLE}={marker}".encode(), []
    for item in Path("/proc").iterdir():
        # An ended process has no environment left.
        with suppress(OSError, ValueError):
            if entry in (item / "environ").read_bytes().split(b"\0") and int(item.name) != os.getpid():
                pids.append(int(item.name))
    return pids


def signal_all(marker: str, number: int) -> list[int]:
    """Signals every process that carries a mark, and returns their ids."""
    pids = find_all(marker)
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return pids


def kill_all(marker: str, seconds: float) -> None:
    """SIGKILL until none is left; TimeoutError when some do not end."""
    deadline = time.monotonic() + seconds
    while signal_all(marker, signal.SIGKILL):
        if time.monotonic() > deadline:
            raise TimeoutError("processes of the run do not end")
        time.sleep(0.01)


def acquire_lock(path: Path, seconds: float) -> int | None:
    """An exclusive lock on a file, held by all who inherit the descriptor; None when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
        else:
            return descriptor


def _listed(marker: str) -> list[int]:
    listing = subprocess.run(["ps", "eww", "-axo", "pid=,command="], capture_output=True, text=True, check=False).stdout
    lines = [line.split() for line in listing.splitlines() if f"{MARK_VARIABLE}={marker}" in line]
    return [int(words[0]) for words in lines if f"{MARK_VARIABLE}={marker}" in words and int(words[0]) != os.getpid()]
