"""The serving part as the supervisor runs it: store in, processes out, and a gateway that is told what to do.

    async with Serving(store, ServingSettings(folder=…, cwd=…, domain="localhost:8080"), resolve) as serving:
        print(serving.port)

`resolve` turns a storageUri into a local folder, on a thread of its own; what it raises is shown in the revision's
status, and it is asked again. Started again on the same folder, it takes over the workloads and the gateway that a
killed one left: the gateway is a process of its own (`local/gateway`), which no request leaves for this one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import aiohttp

from local.gateway.routing import internal_url
from local.gateway.state import Key, Route, State
from local.kube.resources import Object
from local.kube.store import ResourceStore, StatusError
from local.platform.supervised_process import SupervisedProcess
from local.serving.autoscaler import read_scaling
from local.serving.dataplane import Dataplane
from local.serving.hosts import reachable
from local.serving.podspec import Machine, ProcessSpec, process_spec
from local.serving.pool import Identity, Pool, PoolStatus
from local.serving.predictors import SOURCE_URI
from local.serving.reconcile import Reconciler, World
from local.serving.runner import Process, left_behind
from local.serving.settings import ServingSettings
from local.serving.status import condition_of
from local.storage import StorageError

log = logging.getLogger("serving")

Resolver = Callable[[str], Path]
_LOOK_SECONDS = 0.25
_GATEWAY_SECONDS = 2.0
_TIMEOUT = 300


class Serving:
    """The control plane of serving, inside one event loop. `port` is the gateway's once it is entered,
    `internal_port` that of its inner listener, which knows the cluster-local services too.
    """

    def __init__(self, store: ResourceStore, settings: ServingSettings, resolve: Resolver) -> None:
        self._store, self._settings, self._resolve = store, settings, resolve
        self._pools: dict[Key, Pool] = {}
        self._found: dict[Key, list[Process]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._routes: dict[Key, Route] = {}
        self._dirty = self._closing = False

    @property
    def port(self) -> int:
        return self._dataplane.port

    @property
    def internal_port(self) -> int:
        return self._dataplane.internal_port

    @property
    def gateway(self) -> SupervisedProcess:
        """The gateway's process and how it does."""
        return self._dataplane.part

    def status(self) -> dict[Key, PoolStatus]:
        """Each revision's replicas, for people."""
        return {key: pool.status for key, pool in self._pools.items()}

    def pids(self, namespace: str, revision: str) -> list[int]:
        """The process groups of a revision's replicas."""
        pool = self._pools.get((namespace, revision))
        return pool.pids if pool else []

    def ports(self, namespace: str, revision: str) -> list[int]:
        """The loopback ports of a revision's replicas."""
        pool = self._pools.get((namespace, revision))
        return pool.ports if pool else []

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._wake, self._loop = asyncio.Event(), asyncio.get_running_loop()
        # For probes: a connection that is kept would keep a workload from ending.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        self._dataplane = Dataplane(settings, self._demanded)
        try:
            await self._dataplane.start(self._session)
        except OSError:
            await self._session.close()
            raise
        domain = settings.domain if ":" in settings.domain else f"{settings.domain}:{self.port}"
        self._reconciler = Reconciler(self._store, settings.folder, domain)
        for process in left_behind(settings.folder):
            self._found.setdefault((process.pod.namespace, process.pod.revision), []).append(process)
        self._unlisten = self._store.on_write(self._changed_elsewhere)
        self._task = asyncio.create_task(self._run(), name="serving")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answers what is under way, then ends every workload."""
        self._unlisten()
        await self.stop_requests()
        self._closing = True
        self._wake.set()
        await self._task  # a pass under way still writes to the store
        await asyncio.gather(*(pool.stop() for pool in self._pools.values()), *self._stopping)
        await self._session.close()

    async def stop_requests(self) -> None:
        """Takes no more requests, and returns when those under way are answered and logged."""
        await self._dataplane.stop()

    def _changed_elsewhere(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        seen, passed = -1, 0.0
        while not self._closing:
            self._wake.clear()
            try:
                version = await asyncio.to_thread(lambda: self._store.version)
                if version != seen or self._dirty or time.monotonic() - passed > self._settings.resync:
                    self._dirty = False
                    world = await asyncio.to_thread(self._reconciler.plan, self.status())
                    await self._arrange(world)
                    # Nobody is to read of a route that is not in force; without a gateway there is other news to tell.
                    await self._dataplane.in_force(_GATEWAY_SECONDS)
                    wrote = await asyncio.to_thread(self._reconciler.report, world)
                    seen, passed = (-1 if wrote else version), time.monotonic()
                    if wrote:
                        continue
            except StorageError as error:
                log.debug("a pass over the services is repeated: %s", error)
                await asyncio.sleep(1.0)
            except Exception:
                # Level-triggered: whatever it was, the next pass starts from what is there then.
                log.exception("a pass over the services failed and is repeated")
                await asyncio.sleep(1.0)
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pool_changed(self) -> None:
        self._dirty = True
        self._wake.set()

    def _demanded(self, key: Key) -> None:
        if pool := self._pools.get(key):
            pool.wake()

    def _publish(self) -> int:
        settings = self._settings
        return self._dataplane.push(
            State(
                domain=settings.domain,
                default=settings.default_service,
                hosts=tuple(settings.allowed_hosts),
                addresses=dict(settings.addresses),
                routes=self._routes,
                revisions={key: pool.state for key, pool in self._pools.items()},
            )
        )

    async def _arrange(self, world: World) -> None:
        """Pools and routes as the pass wants them."""
        for key, revision in world.revisions.items():
            if key not in self._pools or self._pools[key].who.uid != revision["metadata"]["uid"]:
                await self._retire(key)
                self._open(key, revision)
            pool = self._pools[key]
            if pool.reachable != (key in world.reachable):
                pool.reachable = not pool.reachable
                pool.wake()  # its minimum counts again, or no more
        self._routes = world.routes
        for key in set(self._pools) - set(world.revisions):
            await self._retire(key)
        self._publish()
        for key in list(self._found):
            for process in self._found.pop(key):
                log.info("ending %s: its revision is gone", process.pod.name)
                self._later(_end(process, self._settings.stop_grace))

    def _open(self, key: Key, revision: Object) -> None:
        metadata, spec = revision["metadata"], revision["spec"]
        annotations = metadata.get("annotations") or {}
        concurrency = int(spec.get("containerConcurrency") or 0)
        try:
            scaling = read_scaling(annotations, concurrency, cap=self._settings.replica_cap)
        except ValueError as error:
            log.warning("revision %s: %s; the defaults are taken", metadata["name"], error)
            scaling = read_scaling({}, concurrency, cap=self._settings.replica_cap)
        pool = Pool(
            Identity(key[0], key[1], metadata["uid"]),
            scaling,
            float(spec.get("timeoutSeconds") or _TIMEOUT),
            lambda port: self._prepare(revision, port),
            self._settings,
            self._session,
            self._pool_changed,
            self._publish,
            self._dataplane,
            proven=condition_of(revision).status == "True",
        )
        for process in self._found.pop(key, []):
            if process.pod.uid == metadata["uid"]:
                log.info("taking over %s, process %d", process.pod.name, process.pid)
                pool.adopt(process)
            else:
                self._later(_end(process, self._settings.stop_grace))
        self._pools[key] = pool
        pool.start()

    async def _retire(self, key: Key) -> None:
        pool = self._pools.pop(key, None)
        if pool:
            self._later(pool.stop())

    def _later(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _prepare(self, revision: Object, port: int) -> ProcessSpec:
        metadata = revision["metadata"]
        uri = (metadata.get("annotations") or {}).get(SOURCE_URI, "")
        folder = str(await asyncio.to_thread(self._resolve, uri)) if uri else ""
        settings = self._settings
        machine = Machine(settings.env, settings.addresses, settings.interpreters)

        def lookup(kind: str, name: str) -> Object | None:
            try:
                return self._store.get(kind, name, metadata["namespace"])
            except StatusError:
                return None

        made = await asyncio.to_thread(process_spec, revision, lookup, machine, port=port, model=folder)
        for note in made.notes:
            log.debug("%s: %s", metadata["name"], note)
        return made

    def locate(self, url: str) -> tuple[str, str]:
        """A cluster URL as (URL here, Host header): by `addresses`, or through the gateway for Knative Services."""
        here = reachable(url, dict(self._settings.addresses))
        return internal_url(here, f"127.0.0.1:{self.internal_port}") if here == url else (here, "")


async def _end(process: Process, grace: float) -> None:
    await process.stop(grace)
    process.forget()
