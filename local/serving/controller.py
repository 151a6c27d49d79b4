"""The serving controller, as the supervisor runs it: it turns the store's objects into processes and gateway routes.

    async with ServingController(store, ServingSettings(folder=…, cwd=…, domain="localhost:8080"), resolve) as serving:
        print(serving.port)

`resolve` turns a storageUri into a local folder, on a thread of its own; an exception is shown in the revision's
status, and it is called again. Restarted on the same folder, the controller adopts the workloads and the gateway that a
killed one left behind: the gateway is a process of its own (`local/gateway`); no request passes through this one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import aiohttp

from local.gateway.control_protocol import GatewayState, NamespacedName, Route
from local.gateway.routing import locate
from local.kube.resources import Object
from local.kube.store import ResourceStore
from local.platform.supervised_process import SupervisedProcess
from local.serving.autoscaler import parse_scaling
from local.serving.conditions import get_condition
from local.serving.gateway_client import GatewayClient
from local.serving.predictor_service import SOURCE_URI
from local.serving.process_spec import HostEnvironment, ProcessSpec, process_spec
from local.serving.reconciler import DesiredState, Reconciler
from local.serving.replica_pool import Identity, PoolStatus, ReplicaPool
from local.serving.settings import ServingSettings
from local.serving.workload import WorkloadProcess, find_left_behind
from local.storage import StorageError

log = logging.getLogger("serving")

Resolver = Callable[[str], Path]
_POLL_SECONDS = 0.25
_IN_FORCE_SECONDS = 2.0
_DEFAULT_TIMEOUT = 300


class ServingController:
    """The control plane of serving, in one event loop. Once entered, `port` is the gateway's external listener and
    `internal_port` the internal one, which also knows the cluster-local services.
    """

    def __init__(self, store: ResourceStore, settings: ServingSettings, resolve: Resolver) -> None:
        self._store, self._settings, self._resolve = store, settings, resolve
        self._pools: dict[NamespacedName, ReplicaPool] = {}
        self._adoptable: dict[NamespacedName, list[WorkloadProcess]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._routes: dict[NamespacedName, Route] = {}
        self._pools_changed = self._closing = False

    @property
    def port(self) -> int:
        return self._gateway_client.port

    @property
    def internal_port(self) -> int:
        return self._gateway_client.internal_port

    @property
    def gateway(self) -> SupervisedProcess:
        """The gateway's process and its state."""
        return self._gateway_client.part

    def status(self) -> dict[NamespacedName, PoolStatus]:
        """The state of each revision's replicas."""
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
        # For probes: a kept-alive connection would prevent a workload from ending.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        self._gateway_client = GatewayClient(settings, self._on_demand)
        try:
            await self._gateway_client.start(self._session)
        except OSError:
            await self._session.close()
            raise
        domain = settings.domain if ":" in settings.domain else f"{settings.domain}:{self.port}"
        self._reconciler = Reconciler(self._store, settings.folder, domain)
        for process in find_left_behind(settings.folder):
            self._adoptable.setdefault((process.pod.namespace, process.pod.revision), []).append(process)
        self._unlisten = self._store.on_write(self._on_store_changed)
        self._task = asyncio.create_task(self._run(), name="serving")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answers the requests in flight, then stops every workload."""
        self._unlisten()
        await self.stop_requests()
        self._closing = True
        self._wake.set()
        await self._task  # a pass in progress still writes to the store
        await asyncio.gather(*(pool.stop() for pool in self._pools.values()), *self._stopping)
        await self._session.close()

    async def stop_requests(self) -> None:
        """Accepts no more requests, and returns once those in flight are answered and logged."""
        await self._gateway_client.stop()

    def _on_store_changed(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        last_version, last_pass = -1, 0.0
        while not self._closing:
            self._wake.clear()
            try:
                version = await asyncio.to_thread(lambda: self._store.version)
                if (
                    version != last_version
                    or self._pools_changed
                    or time.monotonic() - last_pass > self._settings.resync
                ):
                    self._pools_changed = False
                    desired = await asyncio.to_thread(self._reconciler.reconcile, self.status())
                    await self._apply(desired)
                    # A status must not show a route that is not in force; without a gateway it has other news to show.
                    await self._gateway_client.wait_until_in_force(_IN_FORCE_SECONDS)
                    written = await asyncio.to_thread(self._reconciler.write_statuses, desired)
                    last_version, last_pass = (-1 if written else version), time.monotonic()
                    if written:
                        continue
            except StorageError as error:
                log.debug("reconciling the services will be retried: %s", error)
                await asyncio.sleep(1.0)
            except Exception:
                # Level-triggered: whatever it was, the next pass starts from the state at that time.
                log.exception("reconciling the services failed; retrying")
                await asyncio.sleep(1.0)
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _on_pool_changed(self) -> None:
        self._pools_changed = True
        self._wake.set()

    def _on_demand(self, key: NamespacedName) -> None:
        if pool := self._pools.get(key):
            pool.wake()

    def _publish(self) -> int:
        settings = self._settings
        return self._gateway_client.push(
            GatewayState(
                domain=settings.domain,
                default=settings.default_service,
                hosts=tuple(settings.allowed_hosts),
                addresses=dict(settings.addresses),
                routes=self._routes,
                revisions={key: pool.state for key, pool in self._pools.items()},
            )
        )

    async def _apply(self, desired: DesiredState) -> None:
        """Makes pools and routes match the desired state."""
        for key, revision in desired.revisions.items():
            if key not in self._pools or self._pools[key].identity.uid != revision["metadata"]["uid"]:
                await self._retire(key)
                self._create_pool(key, revision)
            pool = self._pools[key]
            if pool.reachable != (key in desired.reachable):
                pool.reachable = not pool.reachable
                pool.wake()  # its min-scale applies again, or no longer
        self._routes = desired.routes
        for key in set(self._pools) - set(desired.revisions):
            await self._retire(key)
        self._publish()
        for key in list(self._adoptable):
            for process in self._adoptable.pop(key):
                log.info("stopping %s: its revision is gone", process.pod.name)
                self._run_in_background(_stop_process(process, self._settings.stop_grace))

    def _create_pool(self, key: NamespacedName, revision: Object) -> None:
        metadata, spec = revision["metadata"], revision["spec"]
        annotations = metadata.get("annotations") or {}
        concurrency = int(spec.get("containerConcurrency") or 0)
        try:
            scaling = parse_scaling(annotations, concurrency, cap=self._settings.replica_cap)
        except ValueError as error:
            log.warning("revision %s: %s; using the defaults", metadata["name"], error)
            scaling = parse_scaling({}, concurrency, cap=self._settings.replica_cap)
        pool = ReplicaPool(
            Identity(key[0], key[1], metadata["uid"]),
            scaling,
            float(spec.get("timeoutSeconds") or _DEFAULT_TIMEOUT),
            lambda port: self._prepare(revision, port),
            self._settings,
            self._session,
            self._on_pool_changed,
            self._publish,
            self._gateway_client,
            proven=get_condition(revision).status == "True",
        )
        for process in self._adoptable.pop(key, []):
            if process.pod.uid == metadata["uid"]:
                log.info("adopting %s, process %d", process.pod.name, process.pid)
                pool.adopt(process)
            else:
                self._run_in_background(_stop_process(process, self._settings.stop_grace))
        self._pools[key] = pool
        pool.start()

    async def _retire(self, key: NamespacedName) -> None:
        pool = self._pools.pop(key, None)
        if pool:
            self._run_in_background(pool.stop())

    def _run_in_background(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _prepare(self, revision: Object, port: int) -> ProcessSpec:
        metadata = revision["metadata"]
        uri = (metadata.get("annotations") or {}).get(SOURCE_URI, "")
        folder = str(await asyncio.to_thread(self._resolve, uri)) if uri else ""
        settings = self._settings
        host = HostEnvironment(settings.env, settings.addresses, settings.interpreters)

        def lookup(kind: str, name: str) -> Object | None:
            return self._store.find(kind, name, metadata["namespace"])

        process = await asyncio.to_thread(process_spec, revision, lookup, host, port=port, model=folder)
        for note in process.notes:
            log.debug("%s: %s", metadata["name"], note)
        return process

    def locate(self, url: str) -> tuple[str, str]:
        """A cluster URL as (local URL, Host header)."""
        return locate(url, self._settings.addresses, f"127.0.0.1:{self.internal_port}")


async def _stop_process(process: WorkloadProcess, grace: float) -> None:
    await process.stop(grace)
    process.forget()
