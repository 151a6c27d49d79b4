"""ISO 8601 durations."""

from __future__ import annotations

import pytest

from local.broker.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0.2S", 0.2),
        ("PT1M30S", 90),
        ("PT1H", 3600),
        ("P1DT1S", 86401),
        ("P1W", 604800),
        ("PT0S", 0),
        ("PT1,5S", 1.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "P", "PT", "1S", "P1Y", "P1M", "PT-1S", "-PT1S", "P1DT", "PT1S1S", "0.2"])
def test_durations_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an ISO 8601 duration"):
        parse_duration(text)
