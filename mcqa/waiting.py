"""Waiting for a function's answer: within bounds, and seen on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from mcqa import terminal

T = TypeVar("T")

EVERY = 0.2
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, metavar="SECONDS", help="For so long at most the answer is waited for.")
]


def until(look: Callable[[], T | None], seconds: float, what: str) -> T | None:
    """The first answer of `look` that is not None; None after `seconds`. `look` is asked at least once."""
    began = time.monotonic()
    with terminal.err.status(f"waiting for {what}") as status:
        while (found := look()) is None:
            waited = time.monotonic() - began
            if waited >= seconds:
                return None
            status.update(f"waiting for {what} ({waited:.0f} s)")
            time.sleep(min(EVERY, seconds - waited))
    return found
