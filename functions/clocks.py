"""When an event happened, though no clock can be trusted: not the sender's, not the Broker's, not ours. Pure.

The sender's time counts where it can be true. The Broker's time of arrival bounds it, and our own clock bounds both. So
a time in 2099 counts as the time of arrival, and a device without a battery that dates everything 1970 loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.rfc3339 import unix_seconds
from functions.events import Event

ARRIVAL = "knativearrivaltime"
MAX_AGE = 366 * 86_400.0
"""Seconds. Events wait in retries, outages and dead letters, which are kept for months; no event waits for a year."""

SKEW = 60.0
"""Seconds by which the clocks of two of our machines may differ. A time of our own that is further ahead was stored
before a clock was set back."""


@dataclass(frozen=True, slots=True)
class EventTimes:
    """Unix seconds: `at` is when it happened, for every purpose; `sent` is the sender's time, None if unreadable;
    `arrived` is when it reached the loop, `recorded` when we recorded it, by our own clock."""

    at: float
    sent: float | None
    arrived: float
    recorded: float


def event_times(event: Event, now: float) -> EventTimes:
    """The times of an event that is handled `now`."""
    sent = _read(event.time)
    arrived = plausible(_read(event.extensions.get(ARRIVAL)), now)
    return EventTimes(plausible(sent, arrived), sent, arrived, now)


def plausible(reported: float | None, arrived: float) -> float:
    """The reported time where it is before the arrival, but not absurdly long before; else the arrival."""
    return reported if reported is not None and arrived - MAX_AGE <= reported <= arrived else arrived


def _read(text: str | None) -> float | None:
    try:
        return unix_seconds(text or "")
    except ValueError:
        return None
