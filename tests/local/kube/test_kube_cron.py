"""Schedules: when they fire next, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from local.kube.cron import parse

NOW = datetime(2026, 2, 27, 23, 59, 30, tzinfo=UTC)  # a Friday


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("* * * * *", "2026-02-28T00:00"),
        ("*/15 * * * *", "2026-02-28T00:00"),
        ("0 * * * *", "2026-02-28T00:00"),
        ("@hourly", "2026-02-28T00:00"),
        ("30 6 * * *", "2026-02-28T06:30"),
        ("5-10/5 8,20 * * *", "2026-02-28T08:05"),
        ("0 0 1 * *", "2026-03-01T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 12 * * mon", "2026-03-02T12:00"),
        ("0 12 13 * 1", "2026-03-02T12:00"),  # either day field suffices when both are given
        ("0 0 * JAN *", "2027-01-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("0 0 ? * 0", "2026-03-01T00:00"),
        ("3/20 1 * * *", "2026-02-28T01:03"),
    ],
)
def test_next(text, then):
    assert parse(text).next(NOW) == datetime.fromisoformat(then).replace(tzinfo=UTC)


def test_every_counts_from_the_last_time():
    assert parse("@every 1m30s").next(NOW) == datetime(2026, 2, 28, 0, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "then"),
    [
        ("2026-03-28T02:00+00:00", "2026-03-30T00:30+00:00"),  # 02:30 does not exist on the 29th
        ("2026-10-24T12:00+00:00", "2026-10-25T00:30+00:00"),  # 02:30 is there twice: at the first
    ],
)
def test_time_zones(after, then):
    schedule = parse("30 2 * * *")
    assert schedule.next(datetime.fromisoformat(after), "Europe/Berlin") == datetime.fromisoformat(then)


NONE = """
every minute
* * * *
* * * * * *
60 * * * *
* 24 * * *
* * 0 * *
* * * 13 *
* * * * 7
a * * * *
*/0 * * * *
5-1 * * * *
mon * * * *
* * * mon *
-1 * * * *
1,,2 * * * *
²/1 * * * *
@every 10ms
@never
"""


@pytest.mark.parametrize("text", ["", *NONE.strip().splitlines()])
def test_no_schedule(text):
    with pytest.raises(ValueError, match=r"\S"):
        parse(text)


def test_a_day_that_never_comes():
    with pytest.raises(ValueError, match="names no day"):
        parse("0 0 31 2 *").next(NOW)
