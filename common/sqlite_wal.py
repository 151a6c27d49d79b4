"""SQLite's write-ahead log, switched on by several processes at once.

The mode is the file's, so it is switched once, when the file is new. For that switch alone SQLite does not wait for a
lock, whatever the busy timeout: whoever comes second is refused immediately.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

_PAUSE_SECONDS = 0.01


def write_ahead(execute: Callable[[str], Any], seconds: float) -> None:
    """Switches the file of a connection to WAL where it is not yet, and the connection to `synchronous = FULL`.

    `execute` is the connection's. Readers then do not wait for the writer, and what was acknowledged survives a power
    cut, not only kill -9. Raises sqlite3.OperationalError when the file stays locked for `seconds`.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            if execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = FULL")
        except sqlite3.OperationalError as error:
            locked = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not locked or time.monotonic() > end:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return
