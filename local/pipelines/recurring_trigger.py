"""When a recurring run starts runs: Kubeflow's cron of six fields, seconds first, or every so many seconds. Pure, UTC.

As its controller decides it: the first time comes after `start_time`, which may be past, else after the creation; what
was missed is caught up on one by one or, with no_catchup, only the latest time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from local.kube import cron
from local.pipelines.errors import invalid_argument
from local.pipelines.request_fields import int_field

MAX_INTERVAL = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class RecurringTrigger:
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


def parse(trigger: Any) -> RecurringTrigger:
    """The trigger of a request; KfpApiError INVALID_ARGUMENT says what is wrong with it."""
    if not isinstance(trigger, Mapping):
        raise invalid_argument("trigger must be an object with a cron_schedule or a periodic_schedule")
    by_cron, by_period = trigger.get("cron_schedule"), trigger.get("periodic_schedule")
    schedule = by_cron if by_period is None else by_period
    if not isinstance(schedule, Mapping) or (by_cron is None) == (by_period is None):
        raise invalid_argument("trigger needs either a cron_schedule or a periodic_schedule")
    start, end = (_time_field(schedule, name) for name in ("start_time", "end_time"))
    if start is not None and end is not None and end <= start:
        raise invalid_argument("end_time must be later than start_time")
    if by_period is not None:
        return RecurringTrigger(interval=int_field(schedule, "interval_second", 1, MAX_INTERVAL), start=start, end=end)
    return RecurringTrigger(schedule=_parse_cron(schedule.get("cron")), start=start, end=end)


def _parse_cron(text: Any) -> cron.Schedule:
    if not isinstance(text, str) or len(text) > 200:
        raise invalid_argument("cron must be a string of six fields: second minute hour day-of-month month day-of-week")
    count = len(text.split())
    if not text.startswith(("@", "TZ=", "CRON_TZ=")) and count not in (5, 6):
        raise invalid_argument(f"cron: expected six fields, seconds first, found {count}: {text!r}")
    try:
        return cron.parse(text, optional="day of week")
    except ValueError as error:
        raise invalid_argument(f"cron: {error}") from None


def _time_field(fields: Mapping[str, Any], name: str) -> datetime | None:
    if not (text := fields.get(name)):
        return None
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        raise invalid_argument(f"{name} must be an RFC 3339 time, found {str(text)[:40]!r}") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
