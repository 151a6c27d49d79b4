"""`mcqa` as a real process, on pipes or on a terminal, with what may happen to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 120.0
"""Nothing here takes a tenth of it on an idle machine."""
_CLEARED = ("MCQA_LOCAL_DIR", "MCQA_DATABASE_URL", "K_SINK", "MCQA_URL", "MCQA_DEBUG", "KFP_ENDPOINT", "COLUMNS")
_LOCALE = ("LANG", "LC_ALL", "LC_CTYPE", "PYTHONIOENCODING", "PYTHONUTF8")


def environment(loop: Path, **more: str) -> dict[str, str]:
    """The tests' own, without what would lead a verb elsewhere; `loop` is where it looks for a loop."""
    kept = {name: value for name, value in os.environ.items() if name not in (*_CLEARED, *_LOCALE)}
    return {**kept, "LANG": "C.UTF-8", "MCQA_LOCAL_DIR": str(loop), "PYTHONUNBUFFERED": "1", **more}


def prepare() -> None:
    """In the child: signals as a shell in the foreground leaves them, whatever runs the tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*words: str, env: Mapping[str, str], python: tuple[str, ...] = (), **more: Any) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, *python, "-m", "mcqa", *words]
    return subprocess.Popen(command, cwd=ROOT, env=env, **{**streams, "preexec_fn": prepare, **more})


@dataclass
class Ended:
    code: int
    out: bytes
    err: bytes

    @property
    def lines(self) -> list[str]:
        """Of stderr."""
        return self.err.decode().splitlines()


def ended(process: subprocess.Popen[bytes]) -> Ended:
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return Ended(process.returncode, out or b"", err or b"")


def run(*words: str, env: Mapping[str, str], **more: Any) -> Ended:
    return ended(start(*words, env=env, **more))


def on_terminal(*words: str, env: Mapping[str, str], columns: int, script: str | None = None) -> tuple[int, bytes]:
    """The exit code, and all that the verb wrote to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "mcqa", *words] if script is None else [sys.executable, "-c", script, *words]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**env, "TERM": "xterm-256color"}, stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=prepare, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    written = bytearray()
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # the last process has closed it
                    break
                if not part:
                    break
                written += part
        return process.wait(10), bytes(written)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@dataclass
class Silent:
    """A server that takes every connection and never says a word."""

    port: int
    asked: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def silent() -> Iterator[Silent]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Silent(server.getsockname()[1])
        kept: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])
                    made.asked.set()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in kept:
                connection.close()
