"""Waiting until something is so, within a time that only a hanging test reaches."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], T | Awaitable[T]], seconds: float = 60.0, interval: float = 0.01) -> T:
    """The condition's first true value; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            result: T = await value if inspect.isawaitable(value) else value
            if result:
                return result
            await asyncio.sleep(interval)
