"""How errors are reported: an expected one on one line, a bug of ours on one line and with its trace in a file."""

from __future__ import annotations

import errno
import os
import pwd
import sys
import tempfile
import traceback
from pathlib import Path

from mcqa import stdio
from mcqa.cli import DEBUG_VARIABLE

MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""The machine's fault, not ours, even where no file is named."""


def report(message: str) -> None:
    from mcqa import terminal

    terminal.error(message)


def debugging() -> bool:
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def report_unexpected(error: Exception) -> None:
    """One line that says where the trace is, and the trace itself where it was asked for."""
    if isinstance(error, OSError) and (line := describe_os_error(error)):
        report(line)
        return
    if debugging():
        traceback.print_exception(error)
    what = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")
    path = _write_trace("".join(traceback.format_exception(error)))
    where = f"; its trace is in {path}" if path else "; `mcqa --debug …` prints its trace"
    report(f"{what}{'' if debugging() else where}")


def describe_os_error(error: OSError) -> str | None:
    """What the system refused, on one line; None where only the trace could show what it was about."""
    reason = error.strerror or str(error)
    if error.filename is None:
        if error.errno not in MACHINE_ERRORS:
            return None
        # Verbs name the files they write; without a name it is a stream.
        stdio.abandon(sys.stdout)
        return f"cannot write the output: {reason}"
    # A URL opener or a socket puts a string here as well; whatever it is, it is shown.
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"{path}: {reason}"
    return f"{path}: {reason}{_owner_hint(Path(path))}"


def _owner_hint(path: Path) -> str:
    """Who owns the file or folder that we may not read, and what to do if it is a loop's."""
    from mcqa import loop
    from mcqa.paths import absolute

    hint = ""
    if absolute(path).is_relative_to(absolute(loop.folder().path)):
        hint = ": give a folder of your own with --dir or MCQA_LOCAL_DIR"
    for ancestor in (path, *path.parents):
        try:
            owner = ancestor.stat().st_uid
        except OSError:
            continue
        if owner == os.geteuid():
            continue
        return f", {ancestor} belongs to {_user_name(owner)}{hint}"
    return hint


def _user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _write_trace(trace: str) -> str | None:
    try:
        handle, path = tempfile.mkstemp(prefix="mcqa-error-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"mcqa {' '.join(sys.argv[1:])}\nPython {sys.version}\n\n{trace}")
    except OSError:
        return None
    return path
