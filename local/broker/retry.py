"""What follows an attempt to deliver: success, another attempt later, or the dead letter sink. Pure.

Hand-written: Knative's backoff has no jitter and depends on the response, which `tenacity` would not shorten.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from local.broker.resources import DeliverySpec

# In addition to 5xx (Knative's SelectiveRetry). 404: the subscriber may just be becoming ready.
RETRIED = frozenset({404, 408, 409, 429})
RETRY_AFTER_LIMIT = 60.0
_MAX_DELAY = 86400.0


@dataclass(frozen=True, slots=True)
class Delivered:
    pass


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    pass


NextStep = Delivered | Retry | GiveUp


def next_step(
    delivery: DeliverySpec, attempts: int, status: int | None, retry_after: str | None, now: float
) -> NextStep:
    """What follows the `attempts`-th attempt (from 1), which got this status; None: no response at all.

    `retry_after` is the response's header, `now` the time in seconds since the epoch.
    """
    if status is not None and 200 <= status < 300:
        return Delivered()
    if status is not None and status < 500 and status not in RETRIED:
        return GiveUp()
    if attempts > delivery.retry:
        return GiveUp()
    delay = backoff(delivery, attempts - 1)
    if retry_after is not None and status in (429, 503):
        limit = RETRY_AFTER_LIMIT if delivery.retry_after_max is None else delivery.retry_after_max
        delay = max(delay, min(limit, parse_retry_after(retry_after, now)))
    return Retry(delay)


def backoff(delivery: DeliverySpec, n: int) -> float:
    """Seconds before retry n (from 0): d·2^n or d·n, without jitter."""
    if delivery.backoff_policy == "exponential":
        return min(_MAX_DELAY, delivery.backoff_delay * 2.0 ** min(n, 64))
    if delivery.backoff_policy == "linear":
        return min(_MAX_DELAY, delivery.backoff_delay * n)
    return 0.0


def parse_retry_after(value: str, now: float) -> float:
    """Seconds to wait; 0 if it is neither a number of seconds nor a date (RFC 9110, section 10.2.3)."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 0.0
