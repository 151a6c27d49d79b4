"""Reads facts for every session at once: one read serves all viewers for some seconds, and failing is a fact, too.

By hand, not `st.cache_data`: that forgets errors, so that each viewer would wait for the timeout of a part that is
down; and several sessions at once would each ask.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ui import elements
from ui.language import parts

T = TypeVar("T")

SECONDS = 4.0
ENTRIES = 200
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facts(Generic[T]):
    """`value` where it could be read, else `error`: one line, from the part that failed. `read_at` in Unix seconds."""

    value: T | None
    error: str
    read_at: float

    @property
    def ok(self) -> bool:
        return not self.error


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.facts: Facts[Any] | None = None
        self.until = 0.0


_entries: OrderedDict[Hashable, _Entry] = OrderedDict()
_guard = threading.Lock()


def read(reader: Callable[..., T], *args: Hashable, seconds: float = SECONDS) -> Facts[T]:
    """What `reader(*args)` returns or raises, at most `seconds` old."""
    entry = _entry((reader.__module__, reader.__qualname__, *args))
    with entry.lock:  # whoever comes meanwhile waits for this read instead of making another
        if entry.facts is None or time.monotonic() >= entry.until:
            entry.facts = _read(reader, args)
            entry.until = time.monotonic() + seconds
        return entry.facts


def forget() -> None:
    """The next read of anything is a new one: an action has an effect to show."""
    with _guard:
        _entries.clear()


def shown(facts: Facts[T], part: str) -> T | None:
    """The value; None where there is none, with a notice that `part` cannot be read."""
    if facts.ok:
        return facts.value
    elements.notice("error", *parts("app.unavailable", part=part, error=facts.error))
    return None


def _entry(key: Hashable) -> _Entry:
    with _guard:
        entry = _entries.setdefault(key, _Entry())
        _entries.move_to_end(key)
        while len(_entries) > ENTRIES:
            _entries.popitem(last=False)
        return entry


def _read(reader: Callable[..., T], args: tuple[Hashable, ...]) -> Facts[T]:
    try:
        return Facts(reader(*args), "", time.time())
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one part, the rest of the page is shown
        _logger.warning("%s failed: %s", reader.__qualname__, error)
        line = " ".join(str(error).split()) or type(error).__name__
        return Facts(None, line[:500], time.time())
