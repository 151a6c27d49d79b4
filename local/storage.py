"""Storage that cannot be written for a while: recognised by error codes, shown to people, retried.

A disk fills up and is emptied again, a file system turns read-only, a quota or the limit of open files is reached,
another process locks a database, a folder is removed. None of these should end a program: writers retry with growing
delays, and clients are asked to come back. The retry loops are hand-written because they share `backoff_delays` with
asynchronous code and stop on conditions of ours; `tenacity` would be a dependency for ten lines.
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
FailureCode = Literal["full", "quota", "read-only", "io-error", "open-files", "locked", "missing", "refused"]

DESCRIPTIONS: Mapping[FailureCode, str] = {
    "full": "no space or no inodes left",
    "quota": "a quota or the file size limit is used up",
    "read-only": "the file system is read-only",
    "io-error": "input/output error",
    "open-files": "too many open files",
    "locked": "the database is locked by another process",
    "missing": "the folder or file is gone",
    "refused": "not permitted",
}
TRANSIENT_CODES: frozenset[FailureCode | None] = frozenset(
    {"full", "quota", "read-only", "io-error", "open-files", "locked"}
)
"""Failures that are certainly not bugs; a file that is missing or must not be written could be one."""

_ERRNO: Mapping[int, FailureCode] = {
    errno.ENOSPC: "full", errno.EDQUOT: "quota", errno.EFBIG: "quota", errno.EROFS: "read-only", errno.EIO: "io-error",
    errno.EMFILE: "open-files", errno.ENFILE: "open-files", errno.ENOENT: "missing", errno.ENOTDIR: "missing",
    errno.ESTALE: "missing", errno.EACCES: "refused", errno.EPERM: "refused",
}  # fmt: skip
_SQLITE: Mapping[int, FailureCode] = {
    sqlite3.SQLITE_FULL: "full", sqlite3.SQLITE_IOERR: "io-error", sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_CANTOPEN: "missing", sqlite3.SQLITE_BUSY: "locked", sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PERM: "refused", sqlite3.SQLITE_PROTOCOL: "locked",
}  # fmt: skip
FIRST_DELAY, MAX_DELAY = 0.1, 5.0
PROBE_BYTES = 64 * 1024
CHECK_SECONDS = 1.0


class StorageError(OSError):
    """Nothing was written; retrying later can help. `code` is for programs, the message for people."""

    def __init__(self, code: FailureCode, path: Path | str) -> None:
        super().__init__(f"cannot write {path}: {DESCRIPTIONS[code]}")
        self.code: FailureCode = code
        self.path = Path(path)


@dataclass(frozen=True, slots=True)
class StorageFailure:
    """Which part cannot write where, and since when (Unix seconds)."""

    part: str
    path: str
    code: FailureCode
    since: float

    def to_json(self) -> dict[str, str | float]:
        return {"part": self.part, "path": self.path, "code": self.code, "message": DESCRIPTIONS[self.code],
                "since": self.since}  # fmt: skip


def failure_code(error: BaseException | None, folder: Path | None = None) -> FailureCode | None:
    """Which storage failure an error stands for; None for any other. If SQLite is vague, `folder` is tested."""
    if isinstance(error, StorageError):
        return error.code
    if isinstance(error, sqlite3.Error):
        code = _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        return (check_writable(folder) or code) if folder and code in ("io-error", "missing") else code
    return _ERRNO.get(error.errno or 0) if isinstance(error, OSError) else None


def backoff_delays(first: float = FIRST_DELAY, longest: float = MAX_DELAY) -> Callable[[], float]:
    """A function that returns how long to wait before the next try, in seconds: twice as long each time."""
    delay = first / 2

    def next_delay() -> float:
        nonlocal delay
        delay = min(delay * 2, longest)
        return delay

    return next_delay


def retry_while_unwritable(act: Callable[[], T], what: str) -> T:
    """The result of `act`, retried while storage cannot be written; it must leave nothing half done."""
    next_delay, logged = backoff_delays(), False
    while True:
        try:
            return act()
        except (OSError, sqlite3.Error) as error:
            if not isinstance(error, StorageError) and failure_code(error) not in TRANSIENT_CODES:
                raise
            if not logged:
                log.warning("%s: %s; retrying", what, error)
            logged = True
        time.sleep(next_delay())


def check_writable(folder: Path) -> FailureCode | None:
    """Why no file can be written into the folder, which is created if missing; None if one can."""
    path = folder / f".probe-{os.getpid()}-{threading.get_ident()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        return failure_code(error) or "io-error"
    finally:
        with suppress(OSError):
            path.unlink()
    return None


class LossyStream(io.TextIOBase):
    """An output that drops what cannot be written, as logging does: a full disk under a log must not end a program."""

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


def tolerate_output_errors() -> None:
    """From now on `print` never fails."""
    sys.stdout, sys.stderr = LossyStream(sys.stdout), LossyStream(sys.stderr)


class StorageMonitor:
    """Regularly tests on a thread of its own whether the parts could write; `folders` are parts and their folders.

    This covers parts that cannot report it themselves, such as MLflow.
    """

    def __init__(self, folders: Sequence[tuple[str, Path]], seconds: float = CHECK_SECONDS) -> None:
        self._folders, self._seconds = folders, seconds
        self._failures: dict[str, StorageFailure] = {}
        self._last = -1.0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def failures(self) -> list[StorageFailure]:
        """The current failures, by part."""
        with self._lock:
            return [self._failures[part] for part, _ in self._folders if part in self._failures]

    def failed_since(self, moment: float) -> bool:
        """Whether there has been any failure since a moment of time.monotonic(), including now."""
        self.check()
        with self._lock:
            return self._last >= moment

    def wait_until_writable(self) -> None:
        """Waits until there is no failure, and all others who wait for that have had time to notice."""
        next_delay = backoff_delays()
        while self.failed_since(time.monotonic()):
            time.sleep(next_delay())
        time.sleep(MAX_DELAY)

    def check(self) -> None:
        for part, folder in self._folders:
            code = check_writable(folder)
            with self._lock:
                before = self._failures.get(part)
                if code is None:
                    self._failures.pop(part, None)
                else:
                    self._last = time.monotonic()
                    if before is None or before.code != code:
                        self._failures[part] = StorageFailure(
                            part, str(folder), code, before.since if before else time.time()
                        )
            if code and not before:
                log.warning("%s cannot write %s: %s", part, folder, DESCRIPTIONS[code])
            elif before and not code:
                log.info("%s can write %s again", part, folder)

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self.check()
