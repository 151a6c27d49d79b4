"""Nobody's clock is believed: which time of an event counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.event_types import FEEDBACK
from common.rfc3339 import unix_seconds
from functions.clocks import MAX_AGE, EventTimes, event_times, plausible
from functions.events import Event

NOW = unix_seconds("2026-03-01T12:00:00Z")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def times(time: str | None, arrival: str | None = None) -> EventTimes:
    extensions = {} if arrival is None else {"knativearrivaltime": arrival}
    return event_times(Event("1", "/s", FEEDBACK, time, extensions=extensions), NOW)


@pytest.mark.parametrize(
    ("time", "arrival", "at", "arrived"),
    [
        # the sender's time, where it can be true
        ("2026-03-01T12:00:00Z", None, NOW, NOW),
        ("2026-03-01T11:00:00Z", None, NOW - HOUR, NOW),
        ("2026-03-01T12:00:00+01:00", "2026-03-01T11:59:00Z", NOW - HOUR, NOW - MINUTE),
        ("2026-02-01t12:00:00z", None, NOW - 28 * DAY, NOW),
        # ahead of the arrival
        ("2099-01-01T00:00:00Z", None, NOW, NOW),
        ("2099-01-01T00:00:00Z", "2026-03-01T11:59:00Z", NOW - MINUTE, NOW - MINUTE),
        ("2026-03-01T12:00:01Z", None, NOW, NOW),
        ("2026-03-01T11:59:30Z", "2026-03-01T11:59:00Z", NOW - MINUTE, NOW - MINUTE),
        # absurdly far back: a clock without a battery
        ("1970-01-01T00:00:00Z", None, NOW, NOW),
        ("2000-01-01T00:00:00Z", "2026-03-01T11:59:00Z", NOW - MINUTE, NOW - MINUTE),
        ("0001-01-01T00:00:00Z", None, NOW, NOW),
        # none, or nothing readable
        (None, None, NOW, NOW),
        (None, "2026-03-01T11:00:00Z", NOW - HOUR, NOW - HOUR),
        ("yesterday", None, NOW, NOW),
        ("2026-03-01 11:00:00", None, NOW, NOW),
        # the Broker's clock is no better
        (None, "2099-01-01T00:00:00Z", NOW, NOW),
        (None, "1970-01-01T00:00:00Z", NOW, NOW),
        ("2026-03-01T11:00:00Z", "2099-01-01T00:00:00Z", NOW - HOUR, NOW),
        ("2099-01-01T00:00:00Z", "2099-01-01T00:00:00Z", NOW, NOW),
        ("2026-03-01T11:00:00Z", "nonsense", NOW - HOUR, NOW),
        ("2016-12-31T23:59:60Z", None, NOW, NOW),
    ],
)
def test_which_time_counts(time: str | None, arrival: str | None, at: float, arrived: float) -> None:
    moments = times(time, arrival)
    assert (moments.at, moments.arrived, moments.recorded) == (at, arrived, NOW)


def test_what_the_sender_said_is_kept() -> None:
    assert times("2099-01-01T00:00:00Z").sent == 4070908800.0
    assert times("1970-01-01T00:00:00Z").sent == 0.0
    assert times("no time").sent is None


@given(st.none() | st.floats(-1e11, 1e11), st.floats(0, 4e9))
def test_nothing_happens_after_its_arrival_nor_ages_before(said: float | None, arrived: float) -> None:
    actual = plausible(said, arrived)
    assert arrived - MAX_AGE <= actual <= arrived
    assert actual in (said, arrived)
