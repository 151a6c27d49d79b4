"""Token files: made at a server's first start, for their owner's eyes only.

Whoever can read the file may use the server: as with a cluster's service accounts, whose tokens are files too.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

_REMOVE = "remove it, and its server makes a new one at the next start"
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]{32,4096}")


class TokenError(Exception):
    """A token file is missing, or could be somebody else's or seen by others; one line for people."""


def read_or_make(path: Path) -> str:
    """The token in this file, made on the first call; TokenError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            write_private(path, secrets.token_urlsafe(32).encode())
    except OSError as error:
        raise TokenError(f"the token {path} cannot be made: {error.strerror}") from None
    return read(path)


def restore(path: Path, token: str) -> None:
    """Writes a token that is in use again, where its file was removed; later, where it cannot be written now."""
    if not os.path.lexists(path):
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, token.encode())


def read(path: Path) -> str:
    """The token in this file; TokenError unless it is a plain file that only we can read.

    A link or a file of somebody else was put there by somebody else, and what others can read they may have read.
    """
    try:
        # Not to hang on a named pipe, which only then can be seen to be one.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise TokenError(f"there is no token {path}: its server makes it at its first start") from None
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise TokenError(f"the token {path} is not used: {reason}") from None
    try:
        facts = os.fstat(number)
        if not stat.S_ISREG(facts.st_mode):
            raise TokenError(f"the token {path} is not used: it is no file")
        if facts.st_uid != os.geteuid():
            raise TokenError(f"the token {path} is not used: it belongs to user {facts.st_uid}")
        if facts.st_mode & 0o077:
            mode = stat.S_IMODE(facts.st_mode)
            raise TokenError(f"the token {path} is not used: others can read it (mode {mode:o}); {_REMOVE}")
        content = os.read(number, 8192).strip()
    finally:
        os.close(number)
    if not _TOKEN.fullmatch(content):
        raise TokenError(f"the token {path} is not used: it holds no token; {_REMOVE}")
    return content.decode("ascii")


def write_private(path: Path, content: bytes) -> None:
    """Appears whole, and is never readable by others, not even for a moment."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
