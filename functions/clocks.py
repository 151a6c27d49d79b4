"""When an event happened, though no clock is to be believed: not the sender's, not the Broker's, not ours. Pure.

What the sender says counts where it can be true. What the Broker noted at the event's arrival bounds it, our own clock
bounds both. So a time in 2099 is worth no more than the moment at which it came in, and a device without a battery that
dates everything 1970 loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.rfc3339 import unix_seconds
from functions.events import Event

ARRIVAL = "knativearrivaltime"
MAX_AGE = 366 * 86_400.0
"""Seconds. Events wait in retries, outages and dead letters, which are kept for months; no event waits for a year."""

SKEW = 60.0
"""Seconds by which the clocks of two of our machines may differ. A time of our own that lies further ahead was noted
before a clock was set back."""


@dataclass(frozen=True, slots=True)
class EventTimes:
    """Unix seconds: `at` is when it happened, for all that counts; `sent` is what the sender said, None where nothing
    readable; `arrived` when it reached the loop; `recorded` when we came to note it, by our own clock."""

    at: float
    sent: float | None
    arrived: float
    recorded: float


def event_times(event: Event, now: float) -> EventTimes:
    """The times of an event that is looked at `now`."""
    sent = _read(event.time)
    arrived = plausible(_read(event.extensions.get(ARRIVAL)), now)
    return EventTimes(plausible(sent, arrived), sent, arrived, now)


def plausible(said: float | None, arrived: float) -> float:
    """The time that was said: the earlier of it and the arrival, and the arrival where it lies absurdly far back."""
    return said if said is not None and arrived - MAX_AGE <= said <= arrived else arrived


def _read(text: str | None) -> float | None:
    try:
        return unix_seconds(text or "")
    except ValueError:
        return None
