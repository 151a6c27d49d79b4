"""Storage that cannot be written for a while: told from mistakes by its code, shown to people, waited for.

A disk fills up and is emptied again, a file system turns read-only, a quota or the limit of open files is reached, a
database is locked by somebody, a folder is removed. None of it is a reason to end: whoever writes tries again with
growing pauses, and whoever asked meanwhile is told to come back.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO, TypeVar

log = logging.getLogger("storage")

T = TypeVar("T")
Code = Literal["full", "quota", "read-only", "io-error", "open-files", "locked", "missing", "refused"]

MEANINGS: Mapping[Code, str] = {
    "full": "no space or no inodes left",
    "quota": "a quota, or the limit of a file's size, is used up",
    "read-only": "the file system is read-only",
    "io-error": "input/output error",
    "open-files": "too many open files",
    "locked": "the database is locked by another process",
    "missing": "the folder or file is gone",
    "refused": "not permitted",
}
PASSING: frozenset[Code | None] = frozenset({"full", "quota", "read-only", "io-error", "open-files", "locked"})
"""What is certainly no mistake of the program's; a file that is missing or may not be written could be one."""

_ERRNO: Mapping[int, Code] = {
    errno.ENOSPC: "full", errno.EDQUOT: "quota", errno.EFBIG: "quota", errno.EROFS: "read-only", errno.EIO: "io-error",
    errno.EMFILE: "open-files", errno.ENFILE: "open-files", errno.ENOENT: "missing", errno.ENOTDIR: "missing",
    errno.ESTALE: "missing", errno.EACCES: "refused", errno.EPERM: "refused",
}  # fmt: skip
_SQLITE: Mapping[int, Code] = {
    sqlite3.SQLITE_FULL: "full", sqlite3.SQLITE_IOERR: "io-error", sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_CANTOPEN: "missing", sqlite3.SQLITE_BUSY: "locked", sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PERM: "refused", sqlite3.SQLITE_PROTOCOL: "locked",
}  # fmt: skip
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
PROBE_BYTES = 64 * 1024
LOOK_SECONDS = 1.0


class StorageError(OSError):
    """Nothing was written; trying again later can help. `code` is for programs, the message for people."""

    def __init__(self, code: Code, path: Path | str) -> None:
        super().__init__(f"cannot write {path}: {MEANINGS[code]}")
        self.code: Code = code
        self.path = Path(path)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Who cannot write where, and since when (Unix seconds)."""

    part: str
    path: str
    code: Code
    since: float

    def shown(self) -> dict[str, str | float]:
        return {"part": self.part, "path": self.path, "code": self.code, "message": MEANINGS[self.code],
                "since": self.since}  # fmt: skip


def code_of(error: BaseException | None, folder: Path | None = None) -> Code | None:
    """Which trouble with storage an error tells of; None for any other. `folder` is tried where SQLite is vague."""
    if isinstance(error, StorageError):
        return error.code
    if isinstance(error, sqlite3.Error):
        found = _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        return (probe(folder) or found) if folder and found in ("io-error", "missing") else found
    return _ERRNO.get(error.errno or 0) if isinstance(error, OSError) else None


def pauses(first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> Callable[[], float]:
    """How long to wait before the next try, in seconds: twice as long each time."""
    pause = first / 2

    def following() -> float:
        nonlocal pause
        pause = min(pause * 2, longest)
        return pause

    return following


def patiently(act: Callable[[], T], what: str) -> T:
    """The result of `act`, called again and again while storage does not let it; it must leave nothing half done."""
    pause, told = pauses(), False
    while True:
        try:
            return act()
        except (OSError, sqlite3.Error) as error:
            if not isinstance(error, StorageError) and code_of(error) not in PASSING:
                raise
            if not told:
                log.warning("%s: %s; trying again", what, error)
            told = True
        time.sleep(pause())


def probe(folder: Path) -> Code | None:
    """Why no file can be written into the folder, which is made again where it is gone; None when one can."""
    path = folder / f".probe-{os.getpid()}-{threading.get_ident()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        return code_of(error) or "io-error"
    finally:
        with suppress(OSError):
            path.unlink()
    return None


class Lossy(io.TextIOBase):
    """An output that loses what cannot be written, as logging does: a full disk under a log must not end a program."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def write(self, text: str) -> int:
        with suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


def lose_output() -> None:
    """From here on `print` never fails."""
    sys.stdout, sys.stderr = Lossy(sys.stdout), Lossy(sys.stderr)


class Watch:
    """Tries all the time whether the parts could write, on a thread of its own; `places` are parts and their folders.

    That way parts are covered that cannot tell it themselves, such as MLflow.
    """

    def __init__(self, places: Sequence[tuple[str, Path]], seconds: float = LOOK_SECONDS) -> None:
        self._places, self._seconds = places, seconds
        self._found: dict[str, Trouble] = {}
        self._last = -1.0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def troubles(self) -> list[Trouble]:
        """What there is now, by part."""
        with self._lock:
            return [self._found[part] for part, _ in self._places if part in self._found]

    def seen_since(self, moment: float) -> bool:
        """Whether there was any trouble since a moment of time.monotonic(), this one included."""
        self.look()
        with self._lock:
            return self._last >= moment

    def wait(self) -> None:
        """Until there is no trouble, and whoever else waits for that has had the time to notice."""
        pause = pauses()
        while self.seen_since(time.monotonic()):
            time.sleep(pause())
        time.sleep(LONGEST_PAUSE)

    def look(self) -> None:
        for part, folder in self._places:
            code = probe(folder)
            with self._lock:
                before = self._found.get(part)
                if code is None:
                    self._found.pop(part, None)
                else:
                    self._last = time.monotonic()
                    if before is None or before.code != code:
                        self._found[part] = Trouble(part, str(folder), code, before.since if before else time.time())
            if code and not before:
                log.warning("%s cannot write %s: %s", part, folder, MEANINGS[code])
            elif before and not code:
                log.info("%s can write %s again", part, folder)

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self.look()
