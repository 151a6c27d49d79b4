"""The log of a step."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
KEPT_BYTES = 4 * 1024 * 1024
TRIM_SECONDS = 0.5
_NOISE = ("[KFP Executor",)


def wait_and_trim(process: subprocess.Popen[bytes], path: Path) -> int:
    """The exit status of a process that appends to a log, which is kept below MAX_BYTES meanwhile. It is checked every
    TRIM_SECONDS: what is written faster is trimmed a moment later.
    """
    while True:
        try:
            return process.wait(TRIM_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(OSError):  # the log is gone, or there is no room for its shorter form: next time
                trim(path)


def trim(path: Path, most: int = MAX_BYTES, kept: int = KEPT_BYTES) -> None:
    """Leaves only the last `kept` bytes, from the start of a line, of a log that has more than `most`.

    Whoever appends continues; what it writes at that very moment may be lost.
    """
    size = path.stat().st_size
    if size <= most:
        return
    lines = tail(path, kept).partition(b"\n")[2]
    note = f"[the first {size - len(lines):,} bytes of this log were dropped]\n".encode()
    with path.open("ab") as log:
        os.truncate(path, 0)
        log.write(note + lines)


def excerpt(path: Path, lines: int = 3) -> str:
    """The last lines of a log, on one line."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            written = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    return " | ".join([line for line in written if line and not line.startswith(_NOISE)][-lines:])[-800:]


def tail(path: Path, size: int) -> bytes:
    """The last `size` bytes of a log; b"" when there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - size))
            return log.read(size)
    except OSError:
        return b""
