"""Waiting until something is so, within a time that only a hanging test reaches."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def until(condition: Callable[[], Any], seconds: float = 60.0, interval: float = 0.01) -> Any:
    """The first true value of the condition, which may be asynchronous; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(interval)
