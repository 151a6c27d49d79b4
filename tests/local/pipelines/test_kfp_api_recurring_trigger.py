"""When recurring runs are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.pipelines.errors import KfpApiError
from local.pipelines.recurring_trigger import parse

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)  # a Sunday


def cron(text: Any, **more: Any) -> dict[str, Any]:
    return {"cron_schedule": {"cron": text, **more}}


def every(seconds: Any, **more: Any) -> dict[str, Any]:
    return {"periodic_schedule": {"interval_second": seconds, **more}}


@pytest.mark.parametrize(
    ("trigger", "first", "second"),
    [
        (cron("0 0 3 * * 1"), "2026-11-23T03:00:00", "2026-11-30T03:00:00"),
        (cron("0 0 3 ? * MON"), "2026-11-23T03:00:00", "2026-11-30T03:00:00"),
        (cron("*/20 * * * * *"), "2026-11-22T12:00:20", "2026-11-22T12:00:40"),
        (cron("50,10 30 * * *"), "2026-11-22T12:30:10", "2026-11-22T12:30:50"),
        (cron("@weekly"), "2026-11-29T00:00:00", "2026-12-06T00:00:00"),
        (cron("@every 90s"), "2026-11-22T12:01:30", "2026-11-22T12:03:00"),
        (every("604800"), "2026-11-29T12:00:00", "2026-12-06T12:00:00"),
        (every(30, start_time="2026-11-22T13:00:00Z"), "2026-11-22T13:00:00", "2026-11-22T13:00:30"),
        # a start that is past is caught up on
        (every(30, start_time="2026-11-22T11:00:00Z"), "2026-11-22T11:00:30", "2026-11-22T11:01:00"),
        (cron("0 0 * * * *", start_time="2026-11-22T14:30:00Z"), "2026-11-22T15:00:00", "2026-11-22T16:00:00"),
        (cron("0 0 * * * *", end_time="2026-11-22T13:30:00Z"), "2026-11-22T13:00:00", None),
        (every(30, end_time="2026-11-22T12:00:20Z"), None, None),
        (cron("0 0 0 30 2 *"), None, None),
    ],
)
def test_the_first_times(trigger: dict[str, Any], first: str | None, second: str | None) -> None:
    parsed = parse(trigger)
    at = parsed.first(NOON)
    assert (at and at.isoformat()[:19]) == first
    if at is not None:
        after = parsed.after(at)
        assert (after and after.isoformat()[:19]) == second


@pytest.mark.parametrize("trigger", [cron("*/20 * * * * *"), every(20)])
def test_what_was_missed(trigger: dict[str, Any]) -> None:
    parsed = parse(trigger)
    planned = NOON + timedelta(seconds=20)
    late = NOON + timedelta(seconds=115)
    assert parsed.due(planned, late, True) == (planned, NOON + timedelta(seconds=40))
    assert parsed.due(planned, late, False) == (NOON + timedelta(seconds=100), NOON + timedelta(seconds=120))
    assert parsed.due(planned, planned, False) == (planned, NOON + timedelta(seconds=40))


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        (None, "trigger must be"),
        ({}, "needs either"),
        ({**cron("@weekly"), **every(5)}, "needs either"),
        (cron("0 3 * *"), "six fields, seconds first, found 4"),
        (cron("61 0 3 * * 1"), "'61' is not within"),
        (cron("weekly"), "six fields"),
        (cron(5), "cron must be a string"),
        (every(0), "interval_second must be"),
        (every("x"), "interval_second must be"),
        (every(5, start_time="soon"), "start_time must be"),
        (every(5, start_time="2026-11-22T13:00:00Z", end_time="2026-11-22T13:00:00Z"), "later than"),
    ],
)
def test_what_is_no_trigger(trigger: Any, message: str) -> None:
    with pytest.raises(KfpApiError, match=message):
        parse(trigger)
