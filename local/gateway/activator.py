"""One revision's replicas as the gateway sees them, and the requests that wait for one: Knative's activator.

`acquire` returns the least busy replica with capacity, or waits for one, in order of arrival and bounded in number and
time. A replica that the controller removes gets no more requests; its requests in flight are reported until they end.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from local.gateway.control_protocol import RevisionLoad, RevisionState
from local.gateway.errors import GatewayError, UnavailableError


@dataclass(slots=True, eq=False)
class Replica:
    name: str
    port: int
    in_flight: int = 0


class RevisionThrottler:
    """`on_waiting` is called when a request begins to wait, which the controller must learn at once."""

    def __init__(self, name: str, state: RevisionState, on_waiting: Callable[[], None]) -> None:
        self.name = name
        self.timeout = state.timeout
        self._state, self._on_waiting = state, on_waiting
        self._replicas: dict[str, Replica] = {}
        self._draining: set[Replica] = set()
        self._waiters: deque[asyncio.Future[Replica]] = deque()
        self._busy, self._accumulated_at = 0.0, time.monotonic()
        self._refusals = state.refusals
        self.update(state)

    @property
    def idle(self) -> bool:
        """Whether no request waits or is in flight."""
        return not self._waiters and not self.in_flight()

    def update(self, state: RevisionState) -> None:
        """Applies the controller's current state."""
        self._state, self.timeout = state, state.timeout
        previous = self._replicas
        self._replicas = {name: previous.get(name) or Replica(name, port) for name, port in state.replicas.items()}
        self._draining |= {
            replica for name, replica in previous.items() if name not in self._replicas and replica.in_flight
        }
        if state.failed:
            self._fail_waiters(f"revision {self.name} failed: {state.failed}")
        elif state.refusals > self._refusals and not self._least_busy():
            self._fail_waiters(f"revision {self.name} does not start: {state.message}")
        self._refusals = state.refusals
        self._assign_waiters()

    def retire(self) -> None:
        """The controller has removed the revision."""
        self._draining |= {replica for replica in self._replicas.values() if replica.in_flight}
        self._replicas = {}
        self._fail_waiters(f"revision {self.name} is gone")

    async def acquire(self, deadline: float) -> Replica:
        """A replica with capacity, reserved until `release`. GatewayError: 503 queue full, 504 `deadline` passed."""
        self._accumulate_load()
        replica = self._least_busy()
        if replica and not self._waiters:
            replica.in_flight += 1
            return replica
        if self._state.failed:
            raise UnavailableError(f"revision {self.name} failed: {self._state.failed}")
        if len(self._waiters) >= self._state.queue:
            raise UnavailableError(f"{len(self._waiters)} requests are already waiting for revision {self.name}")
        waiter: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._on_waiting()
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except TimeoutError:
            self._abandon(waiter)
            raise GatewayError(504, f"revision {self.name} had no replica ready in {self.timeout:g} s") from None
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    def release(self, replica: Replica) -> None:
        self._accumulate_load()
        replica.in_flight -= 1
        if not replica.in_flight:
            self._draining.discard(replica)
        self._assign_waiters()

    def load(self) -> RevisionLoad:
        self._accumulate_load()
        return RevisionLoad(self._busy, len(self._waiters))

    def in_flight(self) -> dict[str, int]:
        """The number of requests in flight by replica, including draining ones."""
        return {
            replica.name: replica.in_flight
            for replica in (*self._replicas.values(), *self._draining)
            if replica.in_flight
        }

    def _abandon(self, waiter: asyncio.Future[Replica]) -> None:
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.release(waiter.result())
        elif waiter in self._waiters:
            self._accumulate_load()
            self._waiters.remove(waiter)

    def _least_busy(self) -> Replica | None:
        limit = self._state.limit
        available = [replica for replica in self._replicas.values() if not (limit and replica.in_flight >= limit)]
        return min(available, key=lambda replica: replica.in_flight, default=None)

    def _assign_waiters(self) -> None:
        while self._waiters and (replica := self._least_busy()):
            self._accumulate_load()
            waiter = self._waiters.popleft()
            if not waiter.done():
                replica.in_flight += 1
                waiter.set_result(replica)

    def _fail_waiters(self, reason: str) -> None:
        self._accumulate_load()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(UnavailableError(reason))

    def _accumulate_load(self) -> None:
        """Adds up requests × seconds; must be called before their number changes."""
        now = time.monotonic()
        active = len(self._waiters) + sum(replica.in_flight for replica in (*self._replicas.values(), *self._draining))
        # A request shorter than one tick of the clock must still count.
        self._busy += active * max(now - self._accumulated_at, 1e-6)
        self._accumulated_at = now
