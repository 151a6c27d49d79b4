"""RFC 3339 date-times, which is what a CloudEvent's Timestamp is (specification, Type System), to Unix seconds.

Written by hand: datetime.fromisoformat reads all of ISO 8601, and python-dateutil guesses.
"""

from __future__ import annotations

import re
from datetime import date

_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH = date(1970, 1, 1).toordinal()
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
"""The Gregorian calendar repeats after so long: RFC 3339 has a year 0, `date` has none."""


def unix_seconds(text: str) -> float:
    """The moment in Unix seconds, before 1970 below 0. ValueError where the text is not a date-time.

    `-00:00` (an unknown offset, section 4.3) is UTC. A leap second is the first second of the next day, as POSIX
    counts; it can only be 23:59:60 in UTC (section 5.7).
    """
    if (match := _DATE_TIME.fullmatch(text)) is None:
        raise ValueError("not an RFC 3339 date-time")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, *offset = match.groups()[6:]
    ahead_hours, ahead_minutes = map(int, offset) if sign else (0, 0)
    if hour > 23 or minute > 59 or second > 60 or ahead_hours > 23 or ahead_minutes > 59:
        raise ValueError("not a time of the day")
    days = date(year or _CYCLE_YEARS, month, day).toordinal() - _EPOCH - (0 if year else _CYCLE_DAYS)
    ahead = 60 * ahead_hours + ahead_minutes
    minutes = 60 * hour + minute + (ahead if sign == "-" else -ahead)
    if second == 60 and minutes % 1440 != 1439:
        raise ValueError("a leap second is 23:59:60 in UTC")
    return 86_400 * days + 60 * minutes + second + float(f"0.{fraction or 0}")


def is_date_time(text: str) -> bool:
    """Whether the text is an RFC 3339 date-time of a day and a time that exist."""
    try:
        unix_seconds(text)
    except ValueError:
        return False
    return True
