"""Cron schedules as Knative's PingSource takes them: what robfig/cron v3 reads with its optional field of seconds.

    [CRON_TZ=zone ][second ]minute hour day-of-month month day-of-week
    @yearly @annually @monthly @weekly @daily @midnight @hourly · @every 1h30m

The fields are read here, because neither cronsim nor croniter reads robfig's dialect: `?` is `*`, days of the week end
at 6, there is no `L` and no `#`, and a day must match both day fields as soon as one of them is a plain `*`. The next
time is cronsim's: it walks real time, so a schedule fires at every instant at which the zone's clock shows its time,
twice in the hour that comes twice, and not at all at a time that the clock skips.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_NAMES = {
    "month": {name: i for i, name in enumerate(_MONTHS, 1)},
    "day of week": {name: i for i, name in enumerate(_DAYS)},
}
_FIELDS = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
# Go's time.ParseDuration.
_DURATION = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+", re.ASCII)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 2**63 / 1e9
_YEARS = 5


class UnknownTimeZoneError(ValueError):
    """The tz database has no such zone."""

    def __init__(self, zone: str) -> None:
        super().__init__(f"unknown time zone {zone}")
        self.zone = zone


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to fire: either `every` so many seconds, or when the clock of `zone` shows what `fields` say."""

    every: int = 0
    fields: str = ""
    """Six fields, seconds first, as cronsim reads them: `*` or a list of numbers each."""
    zone: str = ""
    """The zone that the schedule itself names; "" where it names none."""

    def next(self, after: datetime, zone: str = "UTC") -> datetime:
        """The first time after `after`, a whole second in UTC; ValueError when there is none within five years.

        `zone` applies where the schedule names no zone of its own.
        """
        if self.every:
            return after.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=self.every)
        try:
            # Six fields: with five, cronsim moves a daily firing out of the clock's jumps, as Debian's cron does.
            following = next(CronSim(self.fields, after.astimezone(time_zone(self.zone or zone)))).astimezone(UTC)
        except (CronSimError, StopIteration):
            following = None
        if following is None or following.year > after.year + _YEARS:
            raise ValueError("the schedule names no day that exists")
        return following


def parse(text: str, *, optional: Literal["second", "day of week"] = "second") -> Schedule:
    """The schedule; ValueError names the part that is not valid. `optional` is the field that may be left out."""
    zone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        prefix, space, rest = text.partition(" ")
        if not space:
            raise ValueError(f"{text!r}: a space and a schedule must follow the time zone")
        zone, text = prefix.partition("=")[2] or "UTC", rest.strip()
        time_zone(zone)
    if text.startswith("@every "):
        return Schedule(every=_every(text))
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise ValueError(f"{text!r}: unrecognized descriptor; there are {', '.join(_DESCRIPTORS)} and @every 1h30m")
        return Schedule(fields=_DESCRIPTORS[text], zone=zone)
    parts = text.split()
    if len(parts) == len(_FIELDS) - 1:
        parts = ["0", *parts] if optional == "second" else [*parts, "*"]
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected 5 to 6 fields, found {len(parts)}: {text!r}")
    fields = (_field(part, *where) for part, where in zip(parts, _FIELDS, strict=True))
    return Schedule(fields=" ".join(fields), zone=zone)


def time_zone(name: str) -> tzinfo:
    """The zone of that name in the tz database; UnknownTimeZoneError when there is none."""
    if name in ("UTC", "Local"):  # where Knative runs, the local time is UTC
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones, a name too long for a file
        raise UnknownTimeZoneError(name) from None


def _every(text: str) -> int:
    duration = text.removeprefix("@every ")
    if not _DURATION.fullmatch(duration) and duration not in ("0", "+0", "-0"):
        raise ValueError(f"{text!r}: {duration!r} is not a duration such as 90s or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(duration))
    if seconds >= _LONGEST:
        raise ValueError(f"{text!r}: longer than 292 years")
    return 1 if duration.startswith("-") else max(1, int(seconds + 1e-9))


def _field(text: str, name: str, low: int, high: int) -> str:
    allowed: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if first in ("*", "?"):
            start, end = low, high
        else:
            start = _number(first, name)
            end = _number(last, name) if dash else (high if slash else start)
        by = _number(step, "step") if slash else 1
        if by < 1:
            raise ValueError(f"{name}: {part!r} has no valid step")
        if not low <= start <= end <= high:
            raise ValueError(f"{name}: {part!r} is not within {low}-{high}")
        star |= first in ("*", "?") and by == 1
        allowed.update(range(start, end + 1, by))
    if not allowed:
        raise ValueError(f"{name}: {text!r} names no value")
    return "*" if star else ",".join(map(str, sorted(allowed)))


def _number(text: str, name: str) -> int:
    number = _NAMES.get(name, {}).get(text.lower())
    if number is None and not re.fullmatch(r"\+?[0-9]{1,18}", text):
        raise ValueError(f"{name}: {text!r} is not a number")
    return int(text) if number is None else number
