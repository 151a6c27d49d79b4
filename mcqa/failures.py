"""How failures are told: what can happen to anybody in one line, a fault of ours in one line and a file."""

from __future__ import annotations

import errno
import os
import pwd
import sys
import tempfile
import traceback
from pathlib import Path

from mcqa import streams
from mcqa.cli import DEBUG_VARIABLE

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""Of the machine, not of us, though no file may be named."""


def told(message: str) -> None:
    from mcqa import terminal

    terminal.error(message)


def debugging() -> bool:
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def unexpected(error: Exception) -> None:
    """One line, and where the trace is; the trace itself for those who asked for it."""
    if isinstance(error, OSError) and (line := of_system(error)):
        told(line)
        return
    if debugging():
        traceback.print_exception(error)
    what = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")
    path = _written("".join(traceback.format_exception(error)))
    where = f"; its trace is in {path}" if path else "; `mcqa --debug …` prints its trace"
    told(f"{what}{'' if debugging() else where}")


def of_system(error: OSError) -> str | None:
    """What the system refused, in a line; None where only the trace could tell what it was about."""
    reason = error.strerror or str(error)
    if error.filename is None:
        if error.errno not in DISK:
            return None
        # Verbs name the files they write; without a name it is a stream.
        streams.let_go(sys.stdout)
        return f"cannot write the output: {reason}"
    # A URL opener's or a socket's name is a text as well, so whatever it is, it is shown.
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"{path}: {reason}"
    return f"{path}: {reason}{_owner(Path(path))}"


def _owner(path: Path) -> str:
    """Of the folder or file that keeps us out, and what to do about a loop's."""
    from mcqa import loop

    hint = ""
    folder = Path(os.path.abspath(loop.folder().path))
    if Path(os.path.abspath(path)).is_relative_to(folder):
        hint = ": give a folder of your own with --dir or MCQA_LOCAL_DIR"
    for one in (path, *path.parents):
        try:
            owner = one.stat().st_uid
        except OSError:
            continue
        if owner == os.geteuid():
            continue
        return f", {one} belongs to {_name(owner)}{hint}"
    return hint


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _written(trace: str) -> str | None:
    try:
        handle, path = tempfile.mkstemp(prefix="mcqa-error-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"mcqa {' '.join(sys.argv[1:])}\nPython {sys.version}\n\n{trace}")
    except OSError:
        return None
    return path
