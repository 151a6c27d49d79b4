"""Token files: created at a server's first start, readable by their owner only.

Whoever can read the file may use the server, as with the token files of a cluster's service accounts.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

_REMOVE = "remove it, and its server creates a new one at the next start"
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]{32,4096}")


class TokenError(Exception):
    """A token file is missing, or others may have written or read it; one line for people."""


def read_or_create_token(path: Path) -> str:
    """The token in this file, created on the first call; TokenError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            write_private_file(path, secrets.token_urlsafe(32).encode())
    except OSError as error:
        raise TokenError(f"the token {path} cannot be created: {error.strerror}") from None
    return read_token(path)


def restore_token(path: Path, token: str) -> None:
    """Writes a token in use again if its file was removed. If it cannot be written now, a later call does it."""
    if not os.path.lexists(path):
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private_file(path, token.encode())


def read_token(path: Path) -> str:
    """The token in this file; TokenError unless it is a regular file that only we can read.

    Somebody else put a link or another user's file there, and what others can read they may have read.
    """
    try:
        # O_NONBLOCK, so as not to hang on a named pipe before it can be recognised as one.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise TokenError(f"there is no token {path}: its server creates it at its first start") from None
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise TokenError(f"the token {path} is not used: {reason}") from None
    try:
        file_status = os.fstat(descriptor)
        if not stat.S_ISREG(file_status.st_mode):
            raise TokenError(f"the token {path} is not used: it is not a regular file")
        if file_status.st_uid != os.geteuid():
            raise TokenError(f"the token {path} is not used: it belongs to user {file_status.st_uid}")
        if file_status.st_mode & 0o077:
            mode = stat.S_IMODE(file_status.st_mode)
            raise TokenError(f"the token {path} is not used: others can read it (mode {mode:o}); {_REMOVE}")
        content = os.read(descriptor, 8192).strip()
    finally:
        os.close(descriptor)
    if not _TOKEN.fullmatch(content):
        raise TokenError(f"the token {path} is not used: it does not contain a token; {_REMOVE}")
    return content.decode("ascii")


def write_private_file(path: Path, content: bytes) -> None:
    """Writes a file that appears whole and is never readable by others, not even for a moment."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
