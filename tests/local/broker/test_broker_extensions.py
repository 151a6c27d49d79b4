"""Time to live, arrival time and error extensions."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from broker_events import EVENT

from local.broker.extensions import TtlExhaustedError, error_extensions, stamp_arrival, stamp_reply

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "after"), [(None, 255), ("255", 254), (9, 8), ("2", 1), ("x", 255), ("300", 255), ("99999999999", 255)]
)
def test_time_to_live(before: Any, after: int) -> None:
    event = EVENT if before is None else EVENT.with_attributes(knativebrokerttl=before)
    kept = stamp_arrival(event, NOW)
    assert kept.attributes["knativebrokerttl"] == after
    assert kept.attributes["knativearrivaltime"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("ttl", ["1", "0", "-5", 1])
def test_time_to_live_used_up(ttl: Any) -> None:
    with pytest.raises(TtlExhaustedError):
        stamp_arrival(EVENT.with_attributes(knativebrokerttl=ttl), NOW)


def test_reply_inherits_the_time_to_live_whatever_it_claims() -> None:
    original = EVENT.with_attributes(knativebrokerttl=10)
    assert stamp_reply(EVENT.with_attributes(knativebrokerttl=200), original, NOW).attributes["knativebrokerttl"] == 9
    assert stamp_reply(EVENT, original, NOW).attributes["knativebrokerttl"] == 9
    with pytest.raises(TtlExhaustedError):
        stamp_reply(EVENT, EVENT.with_attributes(knativebrokerttl=1), NOW)


def test_error_extensions() -> None:
    short = error_extensions("http://x/", 503, b"sorry")
    assert short == {"knativeerrordest": "http://x/", "knativeerrorcode": 503, "knativeerrordata": "c29ycnk="}
    assert error_extensions("http://x/", None, b"")["knativeerrorcode"] == 500
    cut = str(error_extensions("http://x/", 500, bytes(5000))["knativeerrordata"])
    assert len(cut) == 1024
    assert base64.b64decode(cut) == bytes(768)
