"""One queue of one Trigger: to its subscriber, or to its dead letter sink.

A lane holds the queue's head in memory, a bounded number of deliveries; the rest waits in the store and is read when
there is room again. What is held is: ready, in flight, waiting for its next attempt, or done but not yet on the disk.
Lanes know nothing of each other, so a slow subscriber holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from local.broker.records import Queued

# (number of deliveries wanted, sequence numbers to leave out) -> (deliveries, whether these are all of the queue)
Refill = Callable[[int, Collection[int]], tuple[list[Queued], bool]]


log = logging.getLogger("broker")

FAULT_DELAY = 5.0


class Lane:
    """`depth` counts the queue as far as it is on the disk, held or not.

    `longest` is the pause after so many attempts, in seconds: nothing waits longer for its next one.
    """

    def __init__(
        self,
        attempt: Callable[[Lane, Queued], Awaitable[None]],
        refill: Refill,
        longest: Callable[[int], float],
        *,
        depth: int,
        concurrency: int,
        window: int,
        window_bytes: int,
    ) -> None:
        self.depth = depth
        self._attempt = attempt
        self._refill, self._longest = refill, longest
        self._concurrency = concurrency
        self._window = window
        self._window_bytes = window_bytes
        self._held: dict[int, int] = {}
        self._bytes = 0
        self._ready: deque[Queued] = deque()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._behind = depth > 0
        self._stopped = False

    def start(self) -> None:
        """Reads what an earlier process left to do."""
        if self._behind:
            self._read()

    def offer(self, item: Queued) -> None:
        """A delivery that has just been committed to this queue."""
        self.depth += 1
        if self._stopped or self._behind or item.event_seq in self._held:
            return
        if self._full():
            self._behind = True
            return
        self._hold(item)
        self._pump()

    def retry(self, item: Queued, delay: float) -> None:
        """A held delivery waits for its next attempt."""
        if self._stopped:
            return
        if delay <= 0:
            self._ready.append(item)
            self._pump()
            return
        loop = asyncio.get_running_loop()
        self._timers[item.event_seq] = loop.call_later(delay, self._due, item)

    def settle(self, event_seq: int) -> None:
        """A held delivery has left the queue, and that is on the disk."""
        self.depth -= 1
        self._bytes -= self._held.pop(event_seq, 0)
        if self._behind and len(self._held) <= self._window // 2 and self._bytes <= self._window_bytes // 2:
            self._read()

    async def stop(self, grace: float) -> None:
        """Starts nothing more; requests in flight get `grace` seconds, then are cut off (and repeated one day)."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._ready.clear()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _full(self) -> bool:
        return len(self._held) >= self._window or self._bytes >= self._window_bytes

    def _read(self) -> None:
        if self._stopped or self._full():
            return
        try:
            items, complete = self._refill(self._window - len(self._held), self._held.keys())
        except Exception:
            log.exception("reading a queue failed; it is tried again")
            asyncio.get_running_loop().call_later(FAULT_DELAY, self._read)
            return
        self._behind = not complete
        for item in items:
            self._hold(item)
        self._pump()

    def _hold(self, item: Queued) -> None:
        size = len(item.event.data or b"")
        self._held[item.event_seq] = size
        self._bytes += size
        # What is read from the disk is due by a clock that may have been set back since.
        delay = min(item.due - time.time(), self._longest(item.attempts))
        if delay > 0:
            self.retry(item, delay)
        else:
            self._ready.append(item)

    def _due(self, item: Queued) -> None:
        del self._timers[item.event_seq]
        self._ready.appendleft(replace(item, due=0.0))  # older than what waits behind it
        self._pump()

    def _pump(self) -> None:
        while self._ready and len(self._tasks) < self._concurrency and not self._stopped:
            task = asyncio.get_running_loop().create_task(self._run(self._ready.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def _run(self, item: Queued) -> None:
        try:
            await self._attempt(self, item)
        except Exception:  # not an answer of the subscriber, which is a value, but a fault of ours or of the store
            log.exception("an attempt to deliver event %d failed inside the broker", item.event_seq)
            self.retry(item, FAULT_DELAY)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()
