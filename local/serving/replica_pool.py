"""A revision's replicas: starts, restarts, scales and drains them according to the gateway's load reports."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from local.gateway.control_protocol import NamespacedName, RevisionLoad, RevisionState
from local.ports import free_ports
from local.serving.autoscaler import PANIC_SHARE, Sample, ScalingSpec, scale
from local.serving.process_spec import ProcessSpec
from local.serving.settings import ServingSettings
from local.serving.workload import WorkloadProcess, last_lines, log_file, probe

log = logging.getLogger("serving")

MAX_BACKOFF = 30.0
GIVE_UP_STARTS = 5
HEALTHY_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Replica:
    process: WorkloadProcess | None = None
    ready_at: float = 0.0
    draining: bool = False
    preparing: bool = False
    created_at: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None

    @property
    def accepts_requests(self) -> bool:
        """Whether it may get requests."""
        return bool(self.ready_at) and not self.draining


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """`proven`: it has been ready once. `failed`: why it never will be, "" while it may become ready.

    `exit_code` and `last_output` are those of the process that ended last; None after one was ready, and if the failure
    came before any process. `preparing`: the model is being fetched.
    """

    proven: bool
    failed: str
    message: str
    actual: int
    desired: int
    exit_code: int | None = None
    last_output: str = ""
    preparing: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    namespace: str
    revision: str
    uid: str


class GatewayLoads(Protocol):
    """What a pool asks the gateway about its requests (`gateway_client`)."""

    def load(self, key: NamespacedName) -> RevisionLoad | None: ...
    def drained(self, replica: str, version: int) -> bool: ...


class ReplicaPool:
    """Replicas of one revision. `prepare` returns the process for a port; `changed` is called when the status changes,
    `publish` when the replicas that may get requests change: it informs the gateway and returns the state's version.
    """

    def __init__(
        self,
        identity: Identity,
        scaling: ScalingSpec,
        timeout: float,
        prepare: Callable[[int], Awaitable[ProcessSpec]],
        settings: ServingSettings,
        session: aiohttp.ClientSession,
        changed: Callable[[], None],
        publish: Callable[[], int],
        gateway: GatewayLoads,
        *,
        proven: bool = False,
    ) -> None:
        self.identity, self.scaling, self.timeout = identity, scaling, timeout
        self.reachable = True
        self._prepare, self._settings, self._session, self._changed = prepare, settings, session, changed
        self._publish, self._gateway, self._key = publish, gateway, (identity.namespace, identity.revision)
        self._proven, self._failed, self._message = proven, "", ""
        self._exit_code: int | None = None
        self._last_output = ""
        self._replicas: list[Replica] = []
        self._wake = asyncio.Event()
        self._created_at = self._active_since = self._sampled_at = time.monotonic()
        self._last_busy: float | None = None
        self._samples: deque[Sample] = deque()
        self._desired, self._panic_until = 0, 0.0
        self._failures, self._refusals, self._next_start = 0, 0, 0.0
        self._tick = min(2.0, scaling.window * PANIC_SHARE)
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> PoolStatus:
        actual = sum(replica.accepts_requests for replica in self._replicas)
        return PoolStatus(
            self._proven,
            self._failed,
            self._message,
            actual,
            self._desired,
            self._exit_code,
            self._last_output,
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
        """The revision's state for the gateway."""
        ready = [replica.process.pod for replica in self._replicas if replica.accepts_requests and replica.process]
        return RevisionState(
            timeout=self.timeout,
            limit=self.scaling.container_concurrency,
            queue=self._settings.queue_size,
            replicas={pod.name: pod.port for pod in ready},
            failed=self._failed,
            refusals=self._refusals,
            message=self._message,
        )

    @property
    def _waiting(self) -> int:
        load = self._gateway.load(self._key)
        return load.waiting if load else 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"pool {self.identity.revision}")

    def adopt(self, process: WorkloadProcess) -> None:
        """Adopts a workload that an earlier platform left running."""
        replica = Replica(process)
        self._replicas.append(replica)
        self._active_since = time.monotonic()
        replica.task = asyncio.create_task(self._run_replica(replica))

    def wake(self) -> None:
        self._wake.set()

    async def stop(self) -> None:
        """Stops all replicas, each after its requests are answered."""
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
            next_check = max(self._next_start - time.monotonic(), 0.0) or self._tick
            try:
                async with asyncio.timeout(None if idle else min(next_check, self._tick)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _sample(self) -> None:
        now = time.monotonic()
        if now - self._sampled_at < self._tick / 2:
            return
        if (load := self._gateway.load(self._key)) is None:
            return  # unknown without a gateway
        before, busy = self._last_busy, load.busy
        if before is not None:
            # A restarted gateway counts from 0.
            increase = busy - before if busy >= before else busy
            self._samples.append(Sample(now, increase / (now - self._sampled_at)))
        self._last_busy, self._sampled_at = busy, now
        oldest = now - self.scaling.window - self.scaling.retention_period
        while self._samples and self._samples[0].at < oldest:
            self._samples.popleft()

    def _scale(self) -> None:
        now = time.monotonic()
        current = [replica for replica in self._replicas if not replica.draining]
        desired = self._desired_replicas(now, len(current))
        if desired != self._desired:
            if not self._desired:
                self._active_since = now
            self._desired = desired
            self._changed()
        if len(current) < desired and now >= self._next_start:
            for _ in range(desired - len(current)):
                replica = Replica()
                self._replicas.append(replica)
                replica.task = asyncio.create_task(self._run_replica(replica))
        elif len(current) > desired:
            for replica in sorted(current, key=lambda replica: replica.ready_at > 0)[: len(current) - desired]:
                self._drain(replica)

    def _desired_replicas(self, now: float, running: int) -> int:
        if self._failed:
            return 0
        if not self._proven:
            return max(1, self.scaling.initial_scale, self.scaling.min_scale)
        result = scale(
            self.scaling,
            tuple(self._samples),
            now,
            running=running,
            waiting=self._waiting,
            active_since=self._active_since,
            reachable=self.reachable,
            panic_until=self._panic_until,
        )
        self._panic_until = result.panic_until
        return result.replicas

    async def _run_replica(self, replica: Replica) -> None:
        """Runs a replica from its start to its end."""
        reason, code = "", None
        try:
            if replica.process is None:
                replica.preparing = True
                spec = await self._prepare(free_ports(1)[0])
                replica.preparing = False
                identity = self.identity
                replica.process = await WorkloadProcess.start(
                    self._settings.folder, identity.namespace, identity.revision, identity.uid, spec, self._settings.cwd
                )
                self._changed()
            if replica.draining:
                await replica.process.stop(self._settings.stop_grace)
            ending = asyncio.create_task(replica.process.wait())
            try:
                await self._until_ready(replica, ending)
                code = await asyncio.shield(ending)
                reason = f"exited with status {code}" if code is not None else "is gone"
            finally:
                ending.cancel()
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error) or type(error).__name__
        except asyncio.CancelledError:  # nothing runs yet, or it keeps running for whoever adopts it
            self._replicas.remove(replica)
            raise
        finally:
            if replica in self._replicas:
                self._replica_ended(replica, reason, code)

    async def _until_ready(self, replica: Replica, ending: asyncio.Task[int | None]) -> None:
        assert replica.process
        pause, started = 0.02, time.monotonic()
        if replica.process.pod.probe.initial:
            await asyncio.wait([ending], timeout=replica.process.pod.probe.initial)
        while not ending.done() and not replica.draining:
            if await probe(self._session, replica.process.pod):
                break
            if not self._proven and time.monotonic() - self._created_at > self._settings.progress_deadline:
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
        self._exit_code, self._last_output = None, ""
        self._active_since = max(self._active_since, replica.ready_at)
        self._publish()
        self._changed()

    def _drain(self, replica: Replica) -> None:
        if replica.draining:
            return
        replica.draining = True
        if replica.preparing and replica.task:  # fetching a model may take minutes
            replica.task.cancel()
            return
        asyncio.create_task(self._drain_and_stop(replica))  # noqa: RUF006 - `replica.task` ends after it, and is waited for

    async def _drain_and_stop(self, replica: Replica) -> None:
        version, deadline = self._publish(), time.monotonic() + self.timeout
        while (process := replica.process) and replica.ready_at and time.monotonic() < deadline:
            if self._gateway.drained(process.pod.name, version):
                break
            await asyncio.sleep(0.02)
        if replica.process:
            await replica.process.stop(self._settings.stop_grace)

    def _replica_ended(self, replica: Replica, reason: str, code: int | None) -> None:
        self._replicas.remove(replica)
        if replica.process:
            replica.process.forget()
        if not replica.draining:
            self._record_failure(replica, reason, code)
        self._publish()
        self._wake.set()
        self._changed()

    def _record_failure(self, replica: Replica, reason: str, code: int | None) -> None:
        """Decides when the next replica starts, and whether the revision has failed."""
        now = time.monotonic()
        if replica.ready_at and now - replica.ready_at > HEALTHY_SECONDS:
            self._failures = 0
        excused = self._settings.excused(replica.created_at)
        self._failures = min(self._failures + 1, GIVE_UP_STARTS - 1) if excused else self._failures + 1
        # The first failure may be an accident: restart at once.
        delay = self._settings.first_backoff * 2 ** (self._failures - 2) if self._failures > 1 else 0.0
        self._next_start = now + min(delay, MAX_BACKOFF)
        output = last_lines(log_file(self._settings.folder, self.identity.namespace, self.identity.revision))
        self._message = reason if not replica.process or not output else f"{reason}: {output}"
        # As for a container: killed by a signal is 128 plus its number.
        self._exit_code = 128 - code if code is not None and code < 0 else code
        self._last_output = output if replica.process else reason
        log.warning("a replica of %s %s; next start in %.1f s", self.identity.revision, self._message, delay)
        # A missing model store or ConfigMap may still appear; a process that exits is the revision's fault.
        overdue = now - self._created_at > self._settings.progress_deadline
        if not excused and not self._proven and (overdue or (replica.process and self._failures >= GIVE_UP_STARTS)):
            self._failed = self._message
        if self._failures >= GIVE_UP_STARTS and not any(other.accepts_requests for other in self._replicas):
            self._refusals += 1  # requests have waited long enough
