"""When schedules are due, however the wall clock is moved: pure, both clocks are given.

Cron is about the wall clock, so it says what is due. But it may be set, and a time that was worked out before is then
wrong: set back by an hour, every schedule would be silent for that hour. The monotonic clock tells a clock that was
set from time that has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.kube import cron

DEFAULT = "* * * * *"
# Slewing moves a clock by less than a millisecond a second; what is more between two looks is a step.
_STEP_SECONDS = 1.0

Planned = tuple[str, str]
"""A schedule, and the zone that holds where it names none."""


@dataclass(slots=True)
class _Due:
    planned: Planned
    every: bool
    at: datetime | None


class Ticks:
    """The next time of each of some schedules, by key.

    Time that passes unseen, because nothing ran or the clock was set forward, brings at most one tick a schedule, not
    one for each time missed. After the clock was set back, times that it shows again are due again. `@every` counts
    time that passes, whatever the clock is set to.
    """

    def __init__(self) -> None:
        self._due: dict[str, _Due] = {}
        self._lead: float | None = None

    def due(self, schedules: Mapping[str, Planned], now: datetime, monotonic: float) -> dict[str, datetime]:
        """What is due by key, with the time it was due at. Times are in UTC; `monotonic` is in seconds."""
        lead = now.timestamp() - monotonic
        step = lead - self._lead if self._lead is not None else 0.0
        self._lead = lead
        found: dict[str, datetime] = {}
        kept: dict[str, _Due] = {}
        for key, planned in schedules.items():
            due = self._due.get(key)
            if due is None or due.planned != planned:
                due = _planned(planned, now)
            elif abs(step) > _STEP_SECONDS:
                _moved(due, step, now)
            if due.at is not None and due.at <= now:
                found[key] = due.at
                due.at = _next(planned, now)
            kept[key] = due
        self._due = kept
        return found


def _planned(planned: Planned, now: datetime) -> _Due:
    return _Due(planned, planned[0].startswith("@every "), _next(planned, now))


def _moved(due: _Due, step: float, now: datetime) -> None:
    if due.every and due.at is not None:
        due.at += timedelta(seconds=step)
    elif step < 0:
        due.at = _next(due.planned, now)


def _next(planned: Planned, now: datetime) -> datetime | None:
    try:
        return cron.parse(planned[0]).next(now, planned[1])
    except (ValueError, OverflowError):
        return None  # the API refuses what is no schedule; one that never comes again is no error
