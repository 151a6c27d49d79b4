"""How fast the demo's users ask: it follows the machine, which others may be using."""

from __future__ import annotations

from collections.abc import Sequence

SLOW_SECONDS = 1.0
"""An answer that takes longer is slow: in the demo a request counts as failed after five seconds."""
MAX_UNANSWERED_SHARE = 0.05
DECREASE, INCREASE = 0.7, 1.1
MIN_RATE = 0.5


def next_rate(rate: float, target: float, latencies: Sequence[float], unanswered: int, in_flight: int) -> float:
    """Questions per second from now on, from what the last second showed.

    `latencies` are the seconds of the requests that ended, of which `unanswered` got no answer. Both steps are
    multiplicative, so that a loop that has recovered is back at its target within half a minute.
    """
    ended = len(latencies)
    slow = sum(seconds > SLOW_SECONDS for seconds in latencies)
    overloaded = (
        unanswered > MAX_UNANSWERED_SHARE * ended or slow > ended / 2 or in_flight > max(4.0, 2 * SLOW_SECONDS * rate)
    )
    return max(MIN_RATE, rate * DECREASE) if overloaded else min(target, rate * INCREASE)
