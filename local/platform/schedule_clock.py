"""When schedules are due, however the wall clock is moved: pure, both clocks are given.

Cron is about the wall clock, so it says what is due. But it may be set, and a time that was computed before is then
wrong: set back by an hour, every schedule would be silent for that hour. The monotonic clock distinguishes a clock
that was set from time that has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.kube import cron

EVERY_MINUTE = "* * * * *"
# Slewing moves a clock by less than a millisecond per second; more than that between two calls is a step.
_STEP_SECONDS = 1.0

ZonedSchedule = tuple[str, str]
"""A schedule, and the zone that applies where it names none."""


@dataclass(slots=True)
class _NextTime:
    planned: ZonedSchedule
    every: bool
    at: datetime | None


class ScheduleClock:
    """The next time of each of some schedules, by key.

    Time that passes unseen, because nothing ran or the clock was set forward, brings at most one tick per schedule,
    not one for each time missed. After the clock was set back, times that it shows again are due again. `@every` counts
    time that passes, whatever the clock is set to.
    """

    def __init__(self) -> None:
        self._due: dict[str, _NextTime] = {}
        self._lead: float | None = None

    def due(self, schedules: Mapping[str, ZonedSchedule], now: datetime, monotonic: float) -> dict[str, datetime]:
        """What is due by key, with the time it was due at. Times are in UTC; `monotonic` is in seconds."""
        lead = now.timestamp() - monotonic
        step = lead - self._lead if self._lead is not None else 0.0
        self._lead = lead
        due_times: dict[str, datetime] = {}
        tracked: dict[str, _NextTime] = {}
        for key, planned in schedules.items():
            entry = self._due.get(key)
            if entry is None or entry.planned != planned:
                entry = _first_time(planned, now)
            elif abs(step) > _STEP_SECONDS:
                _shift(entry, step, now)
            if entry.at is not None and entry.at <= now:
                due_times[key] = entry.at
                entry.at = _next_time(planned, now)
            tracked[key] = entry
        self._due = tracked
        return due_times


def _first_time(planned: ZonedSchedule, now: datetime) -> _NextTime:
    return _NextTime(planned, planned[0].startswith("@every "), _next_time(planned, now))


def _shift(due: _NextTime, step: float, now: datetime) -> None:
    if due.every and due.at is not None:
        due.at += timedelta(seconds=step)
    elif step < 0:
        due.at = _next_time(due.planned, now)


def _next_time(planned: ZonedSchedule, now: datetime) -> datetime | None:
    try:
        return cron.parse(planned[0]).next(now, planned[1])
    except (ValueError, OverflowError):
        return None  # the API refuses invalid schedules; one that never fires again is not an error
