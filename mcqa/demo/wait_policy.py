"""When the demo gives up waiting: it follows what happens rather than the clock, for a slow machine takes longer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WaitPolicy:
    """Give up when there was no progress for `stalled_seconds`, or after `max_seconds` and `max_answers` together.

    After so many answers it should have happened. A slow machine takes longer to get there, and is waited for.
    """

    stalled_seconds: float
    max_seconds: float = 0.0
    max_answers: int = 0

    def reason_to_give_up(self, elapsed: float, since_progress: float, answers: int) -> str | None:
        """None to keep waiting. Seconds and answers since the waiting began."""
        if since_progress > self.stalled_seconds:
            return f"no progress for {since_progress:.0f} s"
        if self.max_answers and elapsed > self.max_seconds and answers > self.max_answers:
            return f"it did not happen within {answers} answers, {elapsed:.0f} s"
        return None
