"""When a recurring run starts runs: Kubeflow's cron of six fields, seconds first, or every so many seconds. Pure, UTC.

As its controller decides it: the first time comes after `start_time`, which may be past, else after the creation; what
was missed is caught up on one by one, or only its latest, with no_catchup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from local.kube import cron
from local.pipelines.errors import invalid

MAX_INTERVAL = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Trigger:
    """Either `interval` in seconds, or a `schedule`."""

    interval: int = 0
    schedule: cron.Schedule = field(default_factory=cron.Schedule)
    start: datetime | None = None
    end: datetime | None = None

    def first(self, created: datetime) -> datetime | None:
        if self.interval and self.start is not None and self.start > created:
            return self._until_end(self.start)
        return self.after(self.start or created)

    def after(self, time: datetime) -> datetime | None:
        """The first time later than `time`; None when there is none."""
        if self.interval:
            return self._until_end(time + timedelta(seconds=self.interval))
        try:
            return self._until_end(self.schedule.next(time))
        except (ValueError, OverflowError):
            return None  # a day that never comes

    def due(self, time: datetime, now: datetime, catchup: bool) -> tuple[datetime, datetime | None]:
        """Which run to start when the one of `time` is due: (its time, the next one)."""
        following = self.after(time)
        if catchup:
            return time, following
        if self.interval and now > time:
            time += timedelta(seconds=int((now - time).total_seconds()) // self.interval * self.interval)
            return min(time, self.end or time), self.after(time)
        while following is not None and following <= now:
            time, following = following, self.after(following)
        return time, following

    def _until_end(self, time: datetime) -> datetime | None:
        return None if self.end is not None and time > self.end else time


def read(trigger: Any) -> Trigger:
    """The trigger of a request. ApiError 400 says what is none."""
    if not isinstance(trigger, Mapping):
        raise invalid("trigger must be an object with a cron_schedule or a periodic_schedule")
    by_cron, by_period = trigger.get("cron_schedule"), trigger.get("periodic_schedule")
    given = by_cron if by_period is None else by_period
    if not isinstance(given, Mapping) or (by_cron is None) == (by_period is None):
        raise invalid("trigger needs either a cron_schedule or a periodic_schedule")
    start, end = (_time(given, name) for name in ("start_time", "end_time"))
    if start is not None and end is not None and end <= start:
        raise invalid("end_time must be later than start_time")
    if by_period is not None:
        return Trigger(interval=whole(given, "interval_second", 1, MAX_INTERVAL), start=start, end=end)
    return Trigger(schedule=_cron(given.get("cron")), start=start, end=end)


def whole(fields: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """A whole number, which JSON of protocol buffers writes as a text where it has 64 bits."""
    value = fields.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise invalid(f"{name} must be a whole number from {low} to {high}, found {str(value)[:40]!r}")
    return value


def _cron(text: Any) -> cron.Schedule:
    if not isinstance(text, str) or len(text) > 200:
        raise invalid("cron must be a text of six fields: second minute hour day-of-month month day-of-week")
    found = len(text.split())
    if not text.startswith(("@", "TZ=", "CRON_TZ=")) and found not in (5, 6):
        raise invalid(f"cron: expected six fields, seconds first, found {found}: {text!r}")
    try:
        return cron.parse(text, optional="day of week")
    except ValueError as error:
        raise invalid(f"cron: {error}") from None


def _time(fields: Mapping[str, Any], name: str) -> datetime | None:
    if not (text := fields.get(name)):
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise invalid(f"{name} must be an RFC 3339 time, found {str(text)[:40]!r}") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
