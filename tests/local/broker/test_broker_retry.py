"""What follows an attempt to deliver."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from local.broker.resources import (
    DeliverySpec,
)
from local.broker.retry import Delivered, GiveUp, Retry, next_step, parse_retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


EXPONENTIAL = DeliverySpec(retry=3, backoff_policy="exponential", backoff_delay=0.2)


LINEAR = DeliverySpec(retry=3, backoff_policy="linear", backoff_delay=0.2)


@pytest.mark.parametrize(
    ("delivery", "attempts", "status", "retry_after", "verdict"),
    [
        (EXPONENTIAL, 1, 200, None, Delivered()),
        (EXPONENTIAL, 1, 299, None, Delivered()),
        (EXPONENTIAL, 1, 500, None, Retry(0.2)),
        (EXPONENTIAL, 2, 500, None, Retry(0.4)),
        (EXPONENTIAL, 3, 500, None, Retry(0.8)),
        (EXPONENTIAL, 4, 500, None, GiveUp()),
        (LINEAR, 1, 503, None, Retry(0.0)),
        (LINEAR, 3, 503, None, Retry(0.4)),
        (DeliverySpec(retry=1), 1, 502, None, Retry(0.0)),
        (DeliverySpec(), 1, 500, None, GiveUp()),
        (LINEAR, 1, None, None, Retry(0.0)),
        *[(EXPONENTIAL, 1, status, None, Retry(0.2)) for status in (404, 408, 409, 429, 501, 599)],
        *[(EXPONENTIAL, 1, status, None, GiveUp()) for status in (100, 301, 400, 401, 403, 405, 410, 418, 422, 499)],
        (EXPONENTIAL, 1, 429, "5", Retry(5.0)),
        (EXPONENTIAL, 1, 503, "5", Retry(5.0)),
        (EXPONENTIAL, 1, 500, "5", Retry(0.2)),
        (EXPONENTIAL, 1, 429, "99999", Retry(60.0)),
        (EXPONENTIAL, 1, 429, "Fri, 02 Jan 2026 03:04:15 GMT", Retry(10.0)),
        (EXPONENTIAL, 1, 429, "soon", Retry(0.2)),
        (DeliverySpec(retry=1, retry_after_max=0), 1, 429, "5", Retry(0.0)),
        (DeliverySpec(retry=1, retry_after_max=2), 1, 429, "5", Retry(2.0)),
        (DeliverySpec(retry=2000, backoff_policy="exponential", backoff_delay=1), 1999, 500, None, Retry(86400.0)),
    ],
)
def test_retries(
    delivery: DeliverySpec, attempts: int, status: int | None, retry_after: str | None, verdict: Any
) -> None:
    assert next_step(delivery, attempts, status, retry_after, NOW.timestamp()) == verdict


def test_retry_after_that_makes_no_sense_is_none() -> None:
    for text in ("", "-5", "1.5", "٣", "Mon, 99 Zzz 2026 99:99:99 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert parse_retry_after(text, NOW.timestamp()) == 0.0
