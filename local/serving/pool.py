"""A revision's replicas and the requests that wait for one: starts, heals, scales and drains them.

`acquire` is the activator: it hands out the least busy replica with room, or waits for one to come up, in order of
arrival and bounded in number and time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from local.serving.autoscaler import PANIC_SHARE, Decision, Sample, Scaling, decide
from local.serving.podspec import ProcessSpec
from local.serving.runner import Process, free_port, last_lines, log_file, probe
from local.serving.settings import ServingSettings

log = logging.getLogger("serving")

MAX_BACKOFF = 30.0
GIVE_UP_STARTS = 5
HEALTHY_SECONDS = 10.0


class Refused(Exception):
    """A request that gets no replica: the HTTP status and the reason."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


@dataclass(slots=True, eq=False)
class Replica:
    process: Process | None = None
    ready_at: float = 0.0
    in_flight: int = 0
    draining: bool = False
    preparing: bool = False
    born: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return self.process.pod.port if self.process else 0


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """`proven`: it has been ready once. `failed`: why it never will be, "" while it may.

    `exit_code` and `said` are the status and the last lines of the process that ended last; None since one was ready,
    and where what failed came before any process. `preparing`: the model is being brought.
    """

    proven: bool
    failed: str
    message: str
    actual: int
    desired: int
    exit_code: int | None = None
    said: str = ""
    preparing: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    namespace: str
    revision: str
    uid: str


class Pool:
    """Replicas of one revision. `prepare` makes the process for a port; `changed` is called when the status did."""

    def __init__(
        self,
        who: Identity,
        scaling: Scaling,
        timeout: float,
        prepare: Callable[[int], Awaitable[ProcessSpec]],
        settings: ServingSettings,
        session: aiohttp.ClientSession,
        changed: Callable[[], None],
        *,
        proven: bool = False,
    ) -> None:
        self.who, self.scaling, self.timeout = who, scaling, timeout
        self.reachable = True
        self._prepare, self._settings, self._session, self._changed = prepare, settings, session, changed
        self._proven, self._failed, self._message = proven, "", ""
        self._exit_code: int | None = None
        self._said = ""
        self._replicas: list[Replica] = []
        self._waiters: deque[asyncio.Future[Replica]] = deque()
        self._wake = asyncio.Event()
        self._born = self._active_since = self._sampled = self._counted = time.monotonic()
        self._busy = 0.0
        self._samples: deque[Sample] = deque()
        self._desired, self._panic_until = 0, 0.0
        self._failures, self._not_before = 0, 0.0
        self._tick = min(2.0, scaling.window * PANIC_SHARE)
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> PoolStatus:
        actual = sum(1 for replica in self._replicas if replica.ready_at and not replica.draining)
        return PoolStatus(
            self._proven,
            self._failed,
            self._message,
            actual,
            self._desired,
            self._exit_code,
            self._said,
            any(replica.preparing for replica in self._replicas),
        )

    @property
    def pids(self) -> list[int]:
        return [replica.process.pid for replica in self._replicas if replica.process]

    @property
    def ports(self) -> list[int]:
        return [replica.process.pod.port for replica in self._replicas if replica.process]

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"pool {self.who.revision}")

    def adopt(self, process: Process) -> None:
        """Takes over a workload that an earlier platform left running."""
        replica = Replica(process)
        self._replicas.append(replica)
        self._active_since = time.monotonic()
        replica.task = asyncio.create_task(self._live(replica))

    def wake(self) -> None:
        self._wake.set()

    async def acquire(self) -> Replica:
        """A replica with room, counted as busy until `release`. Refused: 503 no room to wait, 504 waited in vain."""
        self._count()
        replica = self._free()
        if replica and not self._waiters:
            replica.in_flight += 1
            return replica
        if self._failed:
            raise Refused(503, f"revision {self.who.revision} failed: {self._failed}")
        if len(self._waiters) >= self._settings.queue_size:
            raise Refused(503, f"{len(self._waiters)} requests already wait for revision {self.who.revision}")
        waiter: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        try:
            async with asyncio.timeout(self.timeout):
                return await waiter
        except TimeoutError:
            self._give_back(waiter)
            raise Refused(504, f"revision {self.who.revision} had no replica ready in {self.timeout:g} s") from None
        except asyncio.CancelledError:
            self._give_back(waiter)
            raise

    def release(self, replica: Replica) -> None:
        self._count()
        replica.in_flight -= 1
        self._hand_out()

    async def stop(self) -> None:
        """Ends all replicas, each after its requests are answered."""
        if self._task:
            self._task.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Refused(503, "the platform is stopping"))
        tasks = [replica.task for replica in self._replicas if replica.task]
        for replica in self._replicas:
            self._drain(replica)
        await asyncio.gather(*tasks, *([self._task] if self._task else []), return_exceptions=True)

    def _give_back(self, waiter: asyncio.Future[Replica]) -> None:
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.release(waiter.result())
        elif waiter in self._waiters:
            self._count()
            self._waiters.remove(waiter)

    def _free(self) -> Replica | None:
        limit = self.scaling.limit
        able = [
            replica
            for replica in self._replicas
            if replica.ready_at and not replica.draining and not (limit and replica.in_flight >= limit)
        ]
        return min(able, key=lambda replica: replica.in_flight, default=None)

    def _hand_out(self) -> None:
        while self._waiters and (replica := self._free()):
            self._count()
            waiter = self._waiters.popleft()
            if not waiter.done():
                replica.in_flight += 1
                waiter.set_result(replica)

    def _count(self) -> None:
        """Adds up requests × seconds; to be called before their number changes."""
        now = time.monotonic()
        active = len(self._waiters) + sum(replica.in_flight for replica in self._replicas)
        # A request that comes and goes within one tick of the clock must still be seen.
        self._busy += active * max(now - self._counted, 1e-6)
        self._counted = now

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            self._sample()
            self._scale()
            idle = not self._replicas and not self._desired and not self._waiters
            again = max(self._not_before - time.monotonic(), 0.0) or self._tick
            try:
                async with asyncio.timeout(None if idle else min(again, self._tick)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _sample(self) -> None:
        now = time.monotonic()
        if now - self._sampled < self._tick / 2:
            return
        self._count()
        self._samples.append(Sample(now, self._busy / (now - self._sampled)))
        self._busy, self._sampled = 0.0, now
        oldest = now - self.scaling.window - self.scaling.retention
        while self._samples and self._samples[0].at < oldest:
            self._samples.popleft()

    def _scale(self) -> None:
        now = time.monotonic()
        current = [replica for replica in self._replicas if not replica.draining]
        wanted = self._decision(now, len(current))
        if wanted != self._desired:
            if not self._desired:
                self._active_since = now
            self._desired = wanted
            self._changed()
        if len(current) < wanted and now >= self._not_before:
            for _ in range(wanted - len(current)):
                replica = Replica()
                self._replicas.append(replica)
                replica.task = asyncio.create_task(self._live(replica))
        elif len(current) > wanted:
            for replica in sorted(current, key=lambda one: (one.ready_at > 0, one.in_flight))[: len(current) - wanted]:
                self._drain(replica)

    def _decision(self, now: float, running: int) -> int:
        if self._failed:
            return 0
        if not self._proven:
            return max(1, self.scaling.initial, self.scaling.low)
        decision: Decision = decide(
            self.scaling,
            tuple(self._samples),
            now,
            running=running,
            waiting=len(self._waiters),
            active_since=self._active_since,
            reachable=self.reachable,
            panic_until=self._panic_until,
        )
        self._panic_until = decision.panic_until
        return decision.replicas

    async def _live(self, replica: Replica) -> None:
        """A replica's whole life."""
        why, code = "", None
        try:
            if replica.process is None:
                replica.preparing = True
                spec = await self._prepare(free_port())
                replica.preparing = False
                who = self.who
                replica.process = await Process.start(
                    self._settings.folder, who.namespace, who.revision, who.uid, spec, self._settings.cwd
                )
                self._changed()
            if replica.draining:
                await replica.process.stop(self._settings.stop_grace)
            ending = asyncio.create_task(replica.process.wait())
            try:
                await self._until_ready(replica, ending)
                code = await asyncio.shield(ending)
                why = f"exited with status {code}" if code is not None else "is gone"
            finally:
                ending.cancel()
        except (OSError, ValueError, RuntimeError) as error:
            why = str(error) or type(error).__name__
        except asyncio.CancelledError:  # nothing runs yet; or it goes on, for whoever adopts it
            self._replicas.remove(replica)
            raise
        finally:
            if replica in self._replicas:
                self._died(replica, why, code)

    async def _until_ready(self, replica: Replica, ending: asyncio.Task[int | None]) -> None:
        assert replica.process
        pause, started = 0.02, time.monotonic()
        if replica.process.pod.probe.initial:
            await asyncio.wait([ending], timeout=replica.process.pod.probe.initial)
        while not ending.done() and not replica.draining:
            if await probe(self._session, replica.process.pod):
                break
            if not self._proven and time.monotonic() - self._born > self._settings.progress_deadline:
                self._failed = f"was not ready within {self._settings.progress_deadline:g} s"
                self._wake.set()
                return
            await asyncio.wait([ending], timeout=pause)
            pause = min(pause * 1.3, 0.25)
        if ending.done() or replica.draining:
            return
        replica.ready_at = time.monotonic()
        log.info("%s is ready after %.2f s", replica.process.pod.name, replica.ready_at - started)
        self._proven, self._message = True, ""
        self._exit_code, self._said = None, ""
        self._active_since = max(self._active_since, replica.ready_at)
        self._hand_out()
        self._changed()

    def _drain(self, replica: Replica) -> None:
        if replica.draining:
            return
        replica.draining = True
        if replica.preparing and replica.task:  # a model may take minutes to come
            replica.task.cancel()
            return
        asyncio.create_task(self._end(replica))  # noqa: RUF006 - `replica.task` ends after it, and is waited for

    async def _end(self, replica: Replica) -> None:
        patience = time.monotonic() + self.timeout
        while replica.in_flight and time.monotonic() < patience:
            await asyncio.sleep(0.02)
        if replica.process:
            await replica.process.stop(self._settings.stop_grace)

    def _died(self, replica: Replica, why: str, code: int | None) -> None:
        self._replicas.remove(replica)
        now = time.monotonic()
        if replica.process:
            replica.process.forget()
        if not replica.draining:
            if replica.ready_at and now - replica.ready_at > HEALTHY_SECONDS:
                self._failures = 0
            excused = self._settings.excused(replica.born)
            self._failures = min(self._failures + 1, GIVE_UP_STARTS - 1) if excused else self._failures + 1
            # The first time is an accident: it is healed at once.
            wait = self._settings.first_backoff * 2 ** (self._failures - 2) if self._failures > 1 else 0.0
            self._not_before = now + min(wait, MAX_BACKOFF)
            said = last_lines(log_file(self._settings.folder, self.who.namespace, self.who.revision))
            self._message = why if not replica.process or not said else f"{why}: {said}"
            # As a container's: killed by a signal is 128 and its number.
            self._exit_code = 128 - code if code is not None and code < 0 else code
            self._said = said if replica.process else why
            log.warning("a replica of %s %s; next start in %.1f s", self.who.revision, self._message, wait)
            # A model store or a ConfigMap that is not there yet may come; a process that ends is the revision's fault.
            late = now - self._born > self._settings.progress_deadline
            if not excused and not self._proven and (late or (replica.process and self._failures >= GIVE_UP_STARTS)):
                self._failed = self._message
            if self._failures >= GIVE_UP_STARTS:
                self._refuse_all()
        self._wake.set()
        self._changed()

    def _refuse_all(self) -> None:
        if self._free() is None:
            while self._waiters:
                waiter = self._waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(Refused(503, f"revision {self.who.revision} does not start: {self._message}"))
