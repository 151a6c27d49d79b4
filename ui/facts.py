"""Reads facts for every session at once: one read serves all viewers for some seconds, and failing is a fact, too.

By hand, not `st.cache_data`: that forgets errors, so that each viewer would wait for the timeout of a part that is
down; several sessions at once would each ask; and a part that says nothing would hold the page. Here a read goes on
in a thread of its own when a page has waited for long enough.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ui import elements
from ui.language import parts

T = TypeVar("T")

SECONDS = 4.0
"""How old facts may be, where a page does not say; and how long an error is kept."""
PATIENCE = 3.0
"""Seconds that one run of a page waits for parts that do not answer, all of them together."""
LEAST = 0.3
"""Seconds that it still waits for each other part then: those that answer are shown."""
GRACE = 10.0
"""Seconds that facts are still shown while they are read again; after 18 the browser would call the page stale."""
LOST = 60.0
"""Seconds after which a read counts as lost and a new one may begin."""
AT_ONCE = 8
"""Reads by one reader, with different arguments, that may be under way: each is a thread."""
ENTRIES = 200
"""Kept at most. A reader returns no more than a page shows: everything is kept for as long as it may be shown."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facts(Generic[T]):
    """`value` where it could be read, else `error`: one line, from the part that failed. `read_at` in Unix seconds.

    `late`: there is no answer yet, and the read goes on.
    """

    value: T | None
    error: str
    read_at: float
    late: bool = False

    @property
    def ok(self) -> bool:
        return not self.error


@dataclass(frozen=True, slots=True)
class Missed:
    """A read that gave no value, to be made again."""

    reader: Callable[..., Any]
    args: tuple[Hashable, ...]
    seconds: float

    def again(self) -> Facts[Any]:
        return read(self.reader, *self.args, seconds=self.seconds)


@dataclass(slots=True)
class _Run:
    """One run of a page or of a live part. `missed` is None in a live part, which reads again by itself."""

    missed: list[Missed] | None
    patience: float = field(default_factory=lambda: PATIENCE)


class _Reading:
    """One read, in its thread."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.done = threading.Event()
        self.facts: Facts[Any] | None = None


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.facts: Facts[Any] | None = None
        self.until = 0.0
        self.asked = 0.0
        self.reading: _Reading | None = None


_entries: OrderedDict[Hashable, _Entry] = OrderedDict()
_under_way: Counter[str] = Counter()
_ended = threading.Condition()
"""Guards `_under_way`."""
_guard = threading.Lock()
_run: ContextVar[_Run | None] = ContextVar("run", default=None)


def read(reader: Callable[..., T], *args: Hashable, seconds: float = SECONDS) -> Facts[T]:
    """What `reader(*args)` returns or raises, at most `seconds` old, or GRACE more while it is read again.

    `reader` runs in another thread: it knows no session.
    """
    run = _run.get()
    found = _found(reader, args, seconds, run)
    if not found.ok and run is not None and run.missed is not None:
        run.missed.append(Missed(reader, args, seconds))
    return found


@contextmanager
def page_run() -> Iterator[list[Missed]]:
    """While a whole page is rendered: gives what it read outside its live parts and did not get."""
    missed: list[Missed] = []
    token = _run.set(_Run(missed))
    try:
        yield missed
    finally:
        _run.reset(token)


@contextmanager
def live_run() -> Iterator[None]:
    """While a live part is rendered."""
    token = _run.set(_Run(None))
    try:
        yield
    finally:
        _run.reset(token)


def forget() -> None:
    """The next read of anything is a new one: an action has an effect to show."""
    with _guard:
        _entries.clear()


def shown(facts: Facts[T], part: str) -> T | None:
    """The value; None where there is none, with a notice that `part` cannot be read."""
    if facts.ok:
        return facts.value
    if facts.late:
        elements.notice("warning", *parts("app.late", part=part))
    else:
        elements.notice("error", *parts("app.unavailable", part=part, error=facts.error))
    return None


def _found(reader: Callable[..., T], args: tuple[Hashable, ...], seconds: float, run: _Run | None) -> Facts[T]:
    name = f"{reader.__module__}.{reader.__qualname__}"
    entry = _entry((name, *args))
    with entry.lock:
        now = time.monotonic()
        if entry.facts is not None and now < entry.until:
            return entry.facts
        reading = entry.reading
        if reading is None or now - reading.began > LOST:
            if not _begin(name):
                return _late("too many reads of this kind have no answer yet")
            reading = entry.reading = _Reading()
            work = (entry, reading, name, reader, args, seconds)
            threading.Thread(target=_work, args=work, name=f"reads {name}", daemon=True).start()
    _wait(reading, run)  # whoever comes meanwhile waits for this read instead of making another
    with entry.lock:
        if reading.facts is not None:
            return reading.facts
        if entry.facts is not None and entry.facts.ok and time.monotonic() < entry.until + GRACE:
            return entry.facts
    return _late(f"no answer for {time.monotonic() - reading.began:.0f} s")


def _wait(reading: _Reading, run: _Run | None) -> None:
    began = time.monotonic()
    left = PATIENCE if run is None else max(run.patience, LEAST)
    reading.done.wait(max(min(left, reading.began + PATIENCE - began), 0.0))
    if run is not None:
        run.patience -= time.monotonic() - began


def _work(
    entry: _Entry, reading: _Reading, name: str, reader: Callable[..., Any], args: tuple[Hashable, ...], seconds: float
) -> None:
    found = _read(reader, args)
    with _ended:
        _under_way[name] -= 1
        _ended.notify_all()
    with entry.lock:
        reading.facts = found
        if entry.reading is reading:  # else it was lost, and a later one counts
            entry.facts = found
            entry.until = time.monotonic() + (seconds if found.ok else min(seconds, SECONDS))
            entry.reading = None
    reading.done.set()


def _begin(name: str) -> bool:
    """Whether one more read by this reader may begin; waits a little for one that ends."""
    with _ended:
        if not _ended.wait_for(lambda: _under_way[name] < AT_ONCE, LEAST):
            return False
        _under_way[name] += 1
        return True


def _late(error: str) -> Facts[Any]:
    return Facts(None, error, time.time(), late=True)


def _entry(key: Hashable) -> _Entry:
    with _guard:
        entry = _entries.setdefault(key, _Entry())
        entry.asked = time.monotonic()
        _entries.move_to_end(key)
        for other in [other for other, each in _entries.items() if _is_over(each)]:
            del _entries[other]
        while len(_entries) > ENTRIES:
            _entries.popitem(last=False)
        return entry


def _is_over(entry: _Entry) -> bool:
    """Nobody is shown these facts any more, and nobody is reading them or about to."""
    return entry.reading is None and max(entry.until, entry.asked) + max(GRACE, 0.0) < time.monotonic()


def _read(reader: Callable[..., T], args: tuple[Hashable, ...]) -> Facts[T]:
    try:
        return Facts(reader(*args), "", time.time())
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one part, the rest of the page is shown
        _logger.warning("%s failed: %s", reader.__qualname__, error)
        line = " ".join(str(error).split()) or type(error).__name__
        return Facts(None, line[:500], time.time())
