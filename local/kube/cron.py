"""Cron schedules as PingSource takes them: five fields, `@hourly` and its like, `@every 90s` (robfig/cron v3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 6))
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_NAMES = {name: i for i, name in enumerate(_MONTHS, 1)} | {name: i for i, name in enumerate(_DAYS)}
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_HORIZON = timedelta(days=5 * 366)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to fire: either `every` so many seconds, or at the minutes that all five fields allow."""

    every: float = 0.0
    fields: tuple[frozenset[int], ...] = ()
    any_day: bool = True
    """Whether a day must suit both day fields (one of them is *) instead of either."""

    def next(self, after: datetime, zone: str = "UTC") -> datetime:
        """The first time later than `after`, in UTC; ValueError when there is none within five years."""
        if self.every:
            return after.astimezone(UTC) + timedelta(seconds=self.every)
        minutes, hours, days, months, weekdays = self.fields
        local = after.astimezone(UTC if zone == "UTC" else ZoneInfo(zone)).replace(second=0, microsecond=0, fold=0)
        limit = local + _HORIZON
        local += timedelta(minutes=1)
        while local < limit:
            in_month, in_week = local.day in days, (local.isoweekday() % 7) in weekdays
            suits = (in_month and in_week) if self.any_day else (in_month or in_week)
            if local.month not in months or not suits:
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in minutes or local.astimezone(UTC) <= after or _skipped(local):
                local += timedelta(minutes=1)
            else:
                return local.astimezone(UTC)
        raise ValueError("the schedule names no day that exists")


def _skipped(local: datetime) -> bool:
    """Whether the clocks jump over this time."""
    return local.astimezone(UTC).astimezone(local.tzinfo).replace(fold=0) != local


def parse(text: str) -> Schedule:
    """The schedule; ValueError saying which part is none."""
    text = text.strip()
    if found := re.fullmatch(r"@every\s+((?:\d+(?:\.\d+)?[hms])+)", text):
        seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)([hms])", found[1]))
        if seconds < 1:
            raise ValueError(f"{text!r}: fires more often than once a second")
        return Schedule(every=seconds)
    parts = _MACROS.get(text.lower(), text).split()
    if len(parts) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: {text!r}")
    fields = tuple(_field(part, *where) for part, where in zip(parts, _FIELDS, strict=True))
    any_day = parts[2].startswith(("*", "?")) or parts[4].startswith(("*", "?"))
    return Schedule(fields=fields, any_day=any_day)


def _field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    allowed: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            start, end = low, high
        else:
            start = _number(first, name)
            end = _number(last, name) if dash else (high if slash else start)
        if slash and not (step.isdecimal() and int(step) > 0):
            raise ValueError(f"{name}: {part!r} has no usable step")
        if not low <= start <= end <= high:
            raise ValueError(f"{name}: {part!r} is not within {low}-{high}")
        allowed.update(range(start, end + 1, int(step) if slash else 1))
    return frozenset(allowed)


def _number(text: str, name: str) -> int:
    if text.isdecimal():
        return int(text)
    number = _NAMES.get(text.lower())
    if number is None or (text.lower() in _MONTHS) != (name == "month") or name not in ("month", "day of week"):
        raise ValueError(f"{name}: {text!r} is not a number")
    return number
