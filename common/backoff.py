"""How long to wait before a request is retried.

Hand-written: tenacity (looked at) brings a loop of its own, and a download's loop counts progress, not attempts.
"""

from __future__ import annotations

import random
import time

MAX_WAIT = 30.0


def wait_before_retry(failures: int, retry_after: float | None = None) -> None:
    """Sleeps 0.5, 1, 2, … seconds with jitter after 1, 2, 3, … failures, or what the server asked for; at most 30."""
    wait = 0.5 * 2 ** (failures - 1) * random.uniform(0.75, 1.25) if retry_after is None else retry_after
    time.sleep(min(wait, MAX_WAIT))


def describe_error(error: BaseException) -> str:
    """An error on one line, with its type."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else repr(error)
