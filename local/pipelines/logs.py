"""What a step wrote."""

from __future__ import annotations

from pathlib import Path

_NOISE = ("[KFP Executor",)


def excerpt(path: Path, lines: int = 3) -> str:
    """The last lines of a log, on one line."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            found = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    return " | ".join([line for line in found if line and not line.startswith(_NOISE)][-lines:])[-800:]


def tail(path: Path, size: int) -> bytes:
    """The last `size` bytes of a log; none when there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - size))
            return log.read(size)
    except OSError:
        return b""
