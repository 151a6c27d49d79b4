"""Schedules as robfig/cron reads them: when they fire next, and what is none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from local.kube import admission
from local.kube.cron import parse
from local.kube.resources import by_kind

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases"

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
        ("*/10 * * * * *", "2026-02-27T23:59:40"),  # six fields: seconds first
        ("30 0 0 * * *", "2026-02-28T00:00:30"),
        ("15,45 * * * * ?", "2026-02-27T23:59:45"),
        ("1,,2 * * * *", "2026-02-28T00:01"),  # as robfig splits a list
        ("+5 * * * *", "2026-02-28T00:05"),
        ("*-9 * * * *", "2026-02-28T00:00"),
        ("0 12 */2 * 1", "2026-03-01T12:00"),  # a step is no plain *: either day field suffices
        ("0 12 * * MON-fri/2", "2026-03-02T12:00"),
        ("0 0 ? * ?", "2026-02-28T00:00"),
        ("0 6 * sep Sat", "2026-09-05T06:00"),
        ("CRON_TZ=America/New_York 0 6 * * *", "2026-02-28T11:00"),
        ("TZ=Asia/Tokyo @midnight", "2026-02-28T15:00"),
        ("CRON_TZ=Asia/Tokyo   5 0 0 * * *", "2026-02-28T15:00:05"),
        ("CRON_TZ=UTC @every 1h", "2026-02-28T00:59:30"),
    ],
)
def test_next(text: str, then: Any) -> None:
    assert parse(text).next(NOW) == datetime.fromisoformat(then).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("1m30s", 90), ("1h", 3600), ("1.5h", 5400), (".5m", 30), ("1500ms", 1), ("10ms", 1), ("-5s", 1), ("0", 1)],
)
def test_every_counts_whole_seconds_from_the_last_time(duration: Any, seconds: float) -> None:
    after = NOW + timedelta(milliseconds=400)
    assert parse(f"@every {duration}").next(after) == NOW + timedelta(seconds=seconds)


def test_kubeflow_may_leave_out_the_day_of_the_week() -> None:
    assert parse("0 30 6 * *", optional="day of week").next(NOW) == datetime(2026, 2, 28, 6, 30, tzinfo=UTC)


def firings(text: str, zone: str, after: str, before: str) -> Iterator[Any]:
    schedule = parse(text)
    at = datetime.fromisoformat(after)
    while (at := schedule.next(at, zone)) <= datetime.fromisoformat(before):
        yield at


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kolkata"])
@pytest.mark.parametrize(("text", "seconds"), [("*/5 * * * *", 300), ("0,30 * * * *", 1800), ("*/20 * * * * *", 20)])
def test_what_fires_within_the_hour_never_pauses(zone: str, text: str, seconds: float) -> None:
    """Over a year's changes of the clock: the same distance everywhere, in the hour that comes twice too."""
    for day in ("2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"):
        times = list(firings(text, zone, f"{day}T00:00Z", f"{day}T23:59Z"))
        assert {(b - a).total_seconds() for a, b in itertools.pairwise(times)} == {seconds}


@pytest.mark.parametrize(
    ("text", "after", "then"),
    [
        ("30 2 * * *", "2026-03-28T02:00+00:00", "2026-03-30T00:30+00:00"),  # 02:30 does not exist on the 29th
        ("30 2 * * *", "2026-10-24T12:00+00:00", "2026-10-25T00:30+00:00"),  # 02:30 is there twice
        ("30 2 * * *", "2026-10-25T00:30+00:00", "2026-10-25T01:30+00:00"),
        ("30 2 * * *", "2026-10-25T01:30+00:00", "2026-10-26T01:30+00:00"),
        ("0 * * * *", "2026-10-25T00:00+00:00", "2026-10-25T01:00+00:00"),
        ("0 3 * * *", "2026-03-28T12:00+00:00", "2026-03-29T01:00+00:00"),
    ],
)
def test_time_zones(text: str, after: str, then: Any) -> None:
    assert parse(text).next(datetime.fromisoformat(after), "Europe/Berlin") == datetime.fromisoformat(then)


def test_the_next_time_is_the_first_instant_whose_clock_shows_it() -> None:
    """Against every second of a day on which the clock goes back."""
    zone = ZoneInfo("America/New_York")
    start = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)
    schedule = parse("*/17 7,31 1,2,13 * * *")
    shown = [
        at
        for at in (start + timedelta(seconds=i) for i in range(1, 86_400))
        if (local := at.astimezone(zone)).second % 17 == 0 and local.minute in (7, 31) and local.hour in (1, 2, 13)
    ]
    at, fired = start, list[datetime]()
    while len(fired) < len(shown):
        at = schedule.next(at, "America/New_York")
        fired.append(at)
    assert fired == shown


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_the_shared_schedules() -> None:
    for line in (CASES / "schedules" / "next.tsv").read_text().splitlines()[1:]:
        text, zone, after, then = line.split("\t")[:4]
        following = parse(text).next(datetime.fromisoformat(after), zone or "UTC")
        assert following == datetime.fromisoformat(then), line


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_the_shared_manifests() -> None:
    manifests = sorted((CASES / "manifests").glob("ping-*.yaml"))
    assert manifests
    for path in manifests:
        item = yaml.safe_load(path.read_text())
        admission.validate(by_kind("PingSource"), item, None)


NONE = """
every minute
* * * *
* * * * * * *
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
, * * * *
1-2-3 * * * *
1/2/3 * * * *
*/1.5 * * * *
0 0 L * *
0 0 * * 5L
0 0 * * 1#2
0 0 * * 7
0 0 15W * *
TZ=UTC
CRON_TZ=Mars/Olympus * * * * *
CRON_TZ=Europe * * * * *
CRON_TZ=../../etc/passwd * * * * *
CRON_TZ=UTC TZ=UTC * * * * *
²/1 * * * *
@every
@every 5
@every  5s
@every 5s and more
@every ٥s
@every 300000000000h
@HOURLY
@hourly 5
@never
"""


@pytest.mark.parametrize("text", ["", *NONE.strip().splitlines()])
def test_no_schedule(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse(text)


def test_a_day_that_never_comes() -> None:
    with pytest.raises(ValueError, match="names no day"):
        parse("0 0 31 2 *").next(NOW)
