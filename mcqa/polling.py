"""Waiting for a function's result: for a limited time, and visibly on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from mcqa import terminal

T = TypeVar("T")

INTERVAL = 0.2
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, metavar="SECONDS", help="Longest time to wait for the result.")
]


def wait_for(poll: Callable[[], T | None], seconds: float, what: str) -> T | None:
    """The first result of `poll` that is not None; None after `seconds`. `poll` is called at least once."""
    began = time.monotonic()
    with terminal.err.status(f"waiting for {what}") as status:
        while (result := poll()) is None:
            waited = time.monotonic() - began
            if waited >= seconds:
                return None
            status.update(f"waiting for {what} ({waited:.0f} s)")
            time.sleep(min(INTERVAL, seconds - waited))
    return result
