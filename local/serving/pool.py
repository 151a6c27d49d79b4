"""A revision's replicas: starts, heals, scales and drains them, by what the gateway says of the requests for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from local.gateway.state import Key, Load, RevisionState
from local.serving.autoscaler import PANIC_SHARE, Decision, Sample, Scaling, decide
from local.serving.podspec import ProcessSpec
from local.serving.runner import Process, free_port, last_lines, log_file, probe
from local.serving.settings import ServingSettings

log = logging.getLogger("serving")

MAX_BACKOFF = 30.0
GIVE_UP_STARTS = 5
HEALTHY_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Replica:
    process: Process | None = None
    ready_at: float = 0.0
    draining: bool = False
    preparing: bool = False
    born: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None

    @property
    def takes(self) -> bool:
        """Whether it may get requests."""
        return bool(self.ready_at) and not self.draining


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


class Traffic(Protocol):
    """What a pool knows of its requests (`dataplane`)."""

    def load(self, key: Key) -> Load | None: ...
    def done(self, replica: str, version: int) -> bool: ...


class Pool:
    """Replicas of one revision. `prepare` makes the process for a port; `changed` is called when the status did,
    `publish` when the replicas that may get requests did: it tells the gateway, and returns the state's version.
    """

    def __init__(
        self,
        who: Identity,
        scaling: Scaling,
        timeout: float,
        prepare: Callable[[int], Awaitable[ProcessSpec]],
        settings: ServingSettings,
        session: aiohttp.ClientSession,
        changed: Callable[[], None],
        publish: Callable[[], int],
        traffic: Traffic,
        *,
        proven: bool = False,
    ) -> None:
        self.who, self.scaling, self.timeout = who, scaling, timeout
        self.reachable = True
        self._prepare, self._settings, self._session, self._changed = prepare, settings, session, changed
        self._publish, self._traffic, self._key = publish, traffic, (who.namespace, who.revision)
        self._proven, self._failed, self._message = proven, "", ""
        self._exit_code: int | None = None
        self._said = ""
        self._replicas: list[Replica] = []
        self._wake = asyncio.Event()
        self._born = self._active_since = self._sampled = time.monotonic()
        self._busy: float | None = None
        self._samples: deque[Sample] = deque()
        self._desired, self._panic_until = 0, 0.0
        self._failures, self._refusals, self._not_before = 0, 0, 0.0
        self._tick = min(2.0, scaling.window * PANIC_SHARE)
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> PoolStatus:
        actual = sum(replica.takes for replica in self._replicas)
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

    @property
    def state(self) -> RevisionState:
        """What the gateway is told."""
        ready = {one.process.pod.name: one.process.pod.port for one in self._replicas if one.takes and one.process}
        return RevisionState(
            timeout=self.timeout,
            limit=self.scaling.limit,
            queue=self._settings.queue_size,
            replicas=ready,
            failed=self._failed,
            refusals=self._refusals,
            message=self._message,
        )

    @property
    def _waiting(self) -> int:
        load = self._traffic.load(self._key)
        return load.waiting if load else 0

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

    async def stop(self) -> None:
        """Ends all replicas, each after its requests are answered."""
        if self._task:
            self._task.cancel()
        tasks = [replica.task for replica in self._replicas if replica.task]
        for replica in self._replicas:
            self._drain(replica)
        await asyncio.gather(*tasks, *([self._task] if self._task else []), return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            self._sample()
            self._scale()
            idle = not self._replicas and not self._desired and not self._waiting
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
        if (load := self._traffic.load(self._key)) is None:
            return  # nobody knows
        before, busy = self._busy, load.busy
        if before is not None:
            # A gateway that was started again counts from 0.
            grown = busy - before if busy >= before else busy
            self._samples.append(Sample(now, grown / (now - self._sampled)))
        self._busy, self._sampled = busy, now
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
            for replica in sorted(current, key=lambda one: one.ready_at > 0)[: len(current) - wanted]:
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
            waiting=self._waiting,
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
                self._publish()
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
        self._publish()
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
        version, patience = self._publish(), time.monotonic() + self.timeout
        while (process := replica.process) and replica.ready_at and time.monotonic() < patience:
            if self._traffic.done(process.pod.name, version):
                break
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
            if self._failures >= GIVE_UP_STARTS and not any(one.takes for one in self._replicas):
                self._refusals += 1  # whoever waits has waited long enough
        self._publish()
        self._wake.set()
        self._changed()
