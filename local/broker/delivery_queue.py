"""One queue of one Trigger: to its subscriber, or to its dead letter sink.

The head of the queue, a bounded number of deliveries, is in memory; the rest stays in the store and is read when there
is room again. A delivery in memory is ready, in flight, waiting for its next attempt, or done but not yet on the disk.
Queues are independent, so a slow subscriber delays no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from local.broker.queries import QueuedDelivery

# (how many deliveries, sequence numbers to skip) -> (deliveries, whether they are the whole queue)
LoadDeliveries = Callable[[int, Collection[int]], tuple[list[QueuedDelivery], bool]]


log = logging.getLogger("broker")

INTERNAL_ERROR_DELAY = 5.0


class DeliveryQueue:
    """`depth` counts everything in the queue that is on the disk, in memory or not.

    `max_delay` gives the longest wait for the next attempt, in seconds, after a number of attempts.
    """

    def __init__(
        self,
        deliver: Callable[[DeliveryQueue, QueuedDelivery], Awaitable[None]],
        load: LoadDeliveries,
        max_delay: Callable[[int], float],
        *,
        depth: int,
        concurrency: int,
        window: int,
        window_bytes: int,
    ) -> None:
        self.depth = depth
        self._deliver = deliver
        self._load, self._max_delay = load, max_delay
        self._concurrency = concurrency
        self._window = window
        self._window_bytes = window_bytes
        self._window_sizes: dict[int, int] = {}
        self._bytes = 0
        self._ready: deque[QueuedDelivery] = deque()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._more_in_store = depth > 0
        self._stopped = False

    def start(self) -> None:
        """Loads what an earlier process left behind."""
        if self._more_in_store:
            self._load_more()

    def enqueue(self, item: QueuedDelivery) -> None:
        """Adds a delivery that has just been committed to this queue."""
        self.depth += 1
        if self._stopped or self._more_in_store or item.event_seq in self._window_sizes:
            return
        if self._full():
            self._more_in_store = True
            return
        self._admit(item)
        self._start_ready()

    def retry(self, item: QueuedDelivery, delay: float) -> None:
        """Schedules the next attempt of a delivery in memory."""
        if self._stopped:
            return
        if delay <= 0:
            self._ready.append(item)
            self._start_ready()
            return
        loop = asyncio.get_running_loop()
        self._timers[item.event_seq] = loop.call_later(delay, self._retry_due, item)

    def complete(self, event_seq: int) -> None:
        """Removes a delivery whose outcome is on the disk."""
        self.depth -= 1
        self._bytes -= self._window_sizes.pop(event_seq, 0)
        if (
            self._more_in_store
            and len(self._window_sizes) <= self._window // 2
            and self._bytes <= self._window_bytes // 2
        ):
            self._load_more()

    async def stop(self, grace: float) -> None:
        """Starts nothing more. Deliveries in flight get `grace` seconds, then are cancelled; a restart repeats them."""
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
        return len(self._window_sizes) >= self._window or self._bytes >= self._window_bytes

    def _load_more(self) -> None:
        if self._stopped or self._full():
            return
        try:
            items, complete = self._load(self._window - len(self._window_sizes), self._window_sizes.keys())
        except Exception:  # whatever it was, the queue must not stand still
            log.exception("reading a queue failed; retrying")
            asyncio.get_running_loop().call_later(INTERNAL_ERROR_DELAY, self._load_more)
            return
        self._more_in_store = not complete
        for item in items:
            self._admit(item)
        self._start_ready()

    def _admit(self, item: QueuedDelivery) -> None:
        size = len(item.event.data or b"")
        self._window_sizes[item.event_seq] = size
        self._bytes += size
        # `due` was computed with a clock that may have been set back since.
        delay = min(item.due - time.time(), self._max_delay(item.attempts))
        if delay > 0:
            self.retry(item, delay)
        else:
            self._ready.append(item)

    def _retry_due(self, item: QueuedDelivery) -> None:
        del self._timers[item.event_seq]
        self._ready.appendleft(replace(item, due=0.0))  # older than the others
        self._start_ready()

    def _start_ready(self) -> None:
        while self._ready and len(self._tasks) < self._concurrency and not self._stopped:
            task = asyncio.get_running_loop().create_task(self._deliver_one(self._ready.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def _deliver_one(self, item: QueuedDelivery) -> None:
        try:
            await self._deliver(self, item)
        except Exception:  # a failure of ours or of the store: the subscriber's responses are values
            log.exception("an attempt to deliver event %d failed inside the broker", item.event_seq)
            self.retry(item, INTERNAL_ERROR_DELAY)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start_ready()
