"""One revision's replicas as the gateway sees them, and the requests that wait for one.

`acquire` hands out the least busy replica with room, or waits for one to come up, in order of arrival and bounded in
number and time. A replica that the controller takes out gets no more requests; what it is busy with is told until it is
done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from local.gateway.errors import Refusal, Unavailable
from local.gateway.state import Load, RevisionState


@dataclass(slots=True, eq=False)
class Replica:
    name: str
    port: int
    in_flight: int = 0


class Revision:
    """`noticed` is called when a request begins to wait: then the controller must hear of it at once."""

    def __init__(self, name: str, state: RevisionState, noticed: Callable[[], None]) -> None:
        self.name = name
        self.timeout = state.timeout
        self._state, self._noticed = state, noticed
        self._replicas: dict[str, Replica] = {}
        self._leaving: set[Replica] = set()
        self._waiters: deque[asyncio.Future[Replica]] = deque()
        self._busy, self._counted = 0.0, time.monotonic()
        self._refusals = state.refusals
        self.update(state)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self._waiters and not self.in_flight()

    def update(self, state: RevisionState) -> None:
        """The state as the controller has it now."""
        self._state, self.timeout = state, state.timeout
        before = self._replicas
        self._replicas = {name: before.get(name) or Replica(name, port) for name, port in state.replicas.items()}
        self._leaving |= {one for name, one in before.items() if name not in self._replicas and one.in_flight}
        if state.failed:
            self._refuse_all(f"revision {self.name} failed: {state.failed}")
        elif state.refusals > self._refusals and not self._free():
            self._refuse_all(f"revision {self.name} does not start: {state.message}")
        self._refusals = state.refusals
        self._hand_out()

    def retire(self) -> None:
        """The controller knows it no more."""
        self._leaving |= {one for one in self._replicas.values() if one.in_flight}
        self._replicas = {}
        self._refuse_all(f"revision {self.name} is gone")

    async def acquire(self, deadline: float) -> Replica:
        """A replica with room, busy until `release`. Refusal: 503 no room to wait, 504 waited until `deadline`."""
        self._count()
        replica = self._free()
        if replica and not self._waiters:
            replica.in_flight += 1
            return replica
        if self._state.failed:
            raise Unavailable(f"revision {self.name} failed: {self._state.failed}")
        if len(self._waiters) >= self._state.queue:
            raise Unavailable(f"{len(self._waiters)} requests already wait for revision {self.name}")
        waiter: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._noticed()
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except TimeoutError:
            self._give_back(waiter)
            raise Refusal(504, f"revision {self.name} had no replica ready in {self.timeout:g} s") from None
        except asyncio.CancelledError:
            self._give_back(waiter)
            raise

    def release(self, replica: Replica) -> None:
        self._count()
        replica.in_flight -= 1
        if not replica.in_flight:
            self._leaving.discard(replica)
        self._hand_out()

    def load(self) -> Load:
        self._count()
        return Load(self._busy, len(self._waiters))

    def in_flight(self) -> dict[str, int]:
        """The busy replicas' requests, of those too that leave."""
        return {one.name: one.in_flight for one in (*self._replicas.values(), *self._leaving) if one.in_flight}

    def _give_back(self, waiter: asyncio.Future[Replica]) -> None:
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.release(waiter.result())
        elif waiter in self._waiters:
            self._count()
            self._waiters.remove(waiter)

    def _free(self) -> Replica | None:
        limit = self._state.limit
        able = [one for one in self._replicas.values() if not (limit and one.in_flight >= limit)]
        return min(able, key=lambda replica: replica.in_flight, default=None)

    def _hand_out(self) -> None:
        while self._waiters and (replica := self._free()):
            self._count()
            waiter = self._waiters.popleft()
            if not waiter.done():
                replica.in_flight += 1
                waiter.set_result(replica)

    def _refuse_all(self, why: str) -> None:
        self._count()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(Unavailable(why))

    def _count(self) -> None:
        """Adds up requests × seconds; to be called before their number changes."""
        now = time.monotonic()
        active = len(self._waiters) + sum(one.in_flight for one in (*self._replicas.values(), *self._leaving))
        # A request that comes and goes within one tick of the clock must still be seen.
        self._busy += active * max(now - self._counted, 1e-6)
        self._counted = now
