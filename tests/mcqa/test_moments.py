from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mcqa.moments import read_moment

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "ago"),
    [("90m", 5400), ("2h", 7200), (" 1.5 h ", 5400), ("3d", 3 * 86_400), ("1w", 7 * 86_400), ("30s", 30),
     ("2026-11-30T11:00:00Z", 3600), ("2026-11-30 18:00+07:00", 3600), ("2026-11-30T11:59:59.5+00:00", 0.5)],
)  # fmt: skip
def test_a_time_or_how_long_ago(text: str, ago: float) -> None:
    assert read_moment(text, NOW) == pytest.approx(NOW - ago)


def test_without_a_zone_it_is_local() -> None:
    assert read_moment("2026-11-29T10:00", NOW) == datetime(2026, 11, 29, 10).astimezone().timestamp()


@pytest.mark.parametrize(
    ("text", "message"),
    [("yesterday", "must be a time like"), ("", "must be a time like"), ("h", "must be"), ("-2h", "must be"),
     ("2027-01-01", "in the past"), ("2026-11-30T12:00:00Z", "in the past"), ("9999999d", "in the past"),
     ("1e400h", "must be")],
)  # fmt: skip
def test_what_is_none_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_moment(text, NOW)
