"""How fast the demo's people ask, and how long the demo waits: both follow the machine, which others may be using."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SLOW_SECONDS = 1.0
"""An answer that takes longer is late: in the demo a request has failed after five seconds."""
TROUBLE_SHARE = 0.05
DOWN, UP = 0.7, 1.1
SLOWEST = 0.5


def next_pace(pace: float, target: float, latencies: Sequence[float], unanswered: int, waiting: int) -> float:
    """Questions a second from now on, from what the last second showed.

    `latencies` in seconds of the requests that ended, `unanswered` of them not; `waiting` is how many are under way.
    Additive-increase, multiplicative-decrease would find the limit by overloading; the step up is a share, so that a
    loop that has recovered is back at its target within half a minute.
    """
    ended = len(latencies)
    late = sum(seconds > SLOW_SECONDS for seconds in latencies)
    trouble = unanswered > TROUBLE_SHARE * ended or late > ended / 2 or waiting > max(4.0, 2 * SLOW_SECONDS * pace)
    return max(SLOWEST, pace * DOWN) if trouble else min(target, pace * UP)


@dataclass(frozen=True, slots=True)
class Patience:
    """When waiting for something is given up.

    Either nothing has moved for `still` seconds, or `seconds` have passed and so have `answers` questions: with so much
    to go by it should have happened. A slow machine takes longer to get there, and is waited for.
    """

    still: float
    seconds: float = 0.0
    answers: int = 0

    def verdict(self, elapsed: float, unmoved: float, answered: int) -> str | None:
        """Why to give up, None to go on. All in seconds, `answered` in questions, since the waiting began."""
        if unmoved > self.still:
            return f"nothing moved for {unmoved:.0f} s"
        if self.answers and elapsed > self.seconds and answered > self.answers:
            return f"it did not happen within {answered} answers, {elapsed:.0f} s"
        return None
