"""The loop's one supervisor: the API and the controllers in this process, everything else in processes that it keeps.

All its state is on the disk: killed at any moment and started again, it adopts what still runs and continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp

from common.names import INFERENCE_SERVICE, NAMESPACE
from local.kube.server import ApiServer
from local.origins import AllowedHostsError, allowed_hosts
from local.platform import commands, environment, programs
from local.platform.code_digest import code_digest, end_outdated_processes
from local.platform.eventing import EventingController
from local.platform.pingsource import PingSourceAdapter
from local.platform.settings import HOST, ROOT, STATUS_PATH, Folder, PlatformError, Settings, write_json
from local.platform.startup import Startup
from local.platform.supervised_process import SupervisedProcess, adopt
from local.serving.controller import ServingController
from local.serving.hosts import PREDICTOR
from local.serving.settings import ServingSettings
from local.sqlite import inode
from local.storage import StorageMonitor
from local.tokens import TokenError, read_or_create_token, restore_token

log = logging.getLogger("platform")

_STATUS_SECONDS = 0.5
LAST_SECONDS = 45.0
"""The page leaves the start's processors to the rest so long; it also shows why a start does not come to its end."""
_DATABASE_SECONDS = 2.0
_RESOLVER_VARIABLES = ("MLFLOW_TRACKING_URI", "MCQA_CACHE")
"""What resolving a version needs in this process's own environment."""


class Supervisor:
    """`await Supervisor(folder, settings).run()` until SIGTERM or SIGINT. PlatformError when it cannot start."""

    def __init__(self, folder: Folder, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._stop = asyncio.Event()
        self._startup: Startup | None = None
        self._processes: dict[str, SupervisedProcess] = {}
        self._tokens: dict[Path, str] = {}
        self._began, self._started = time.time(), time.monotonic()
        self._database_inode = 0
        self._storage = StorageMonitor(programs.places(folder))
        self._code = code_digest()

    async def run(self) -> None:
        folder, settings = self._folder, self._settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await end_outdated_processes(folder, self._code)
        loop_environment = environment.loop_environment(folder, settings)
        write_json(folder.environment, loop_environment, mode=0o600)
        try:
            self._tokens = {path: read_or_create_token(path) for path in (folder.pipelines_token, folder.broker_token)}
            pages = {STATUS_PATH: self._status_with_uptime}
            api = ApiServer(folder.path, settings.ports.api, namespace=NAMESPACE, pages=pages)
        except (OSError, TokenError, AllowedHostsError) as error:
            raise PlatformError(str(error)) from None
        api.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # they are ours to take
        os.environ |= {name: loop_environment[name] for name in _RESOLVER_VARIABLES}
        serving = ServingController(api.store, self._serving_settings(), commands.storage_resolver())
        self._api, self._serving = api, serving
        self._storage.start()
        try:
            async with serving, aiohttp.ClientSession() as session:
                await self._run_all(api, serving, session)
        except OSError as error:
            raise PlatformError(str(error)) from None
        finally:
            self._storage.stop()
            api.store.close()

    async def _run_all(self, api: ApiServer, serving: ServingController, session: aiohttp.ClientSession) -> None:
        """Everything runs in here; on the way out, what depends on others ends before them."""
        folder, settings = self._folder, self._settings
        wanted = programs.programs(folder, settings)
        adopted = await adopt(folder.processes, wanted)
        self._processes = {p.name: SupervisedProcess(p, folder.processes, lambda: None) for p in wanted}
        served = asyncio.create_task(api.serve())
        supervised: list[asyncio.Task[None]] = []

        def supervise(names: Iterable[str]) -> None:
            for name in names:
                process = self._processes[name]
                supervised.append(asyncio.create_task(process.supervise(session, adopted.get(name))))

        last = [name for name in self._processes if name == programs.UI and name not in adopted]
        supervise(name for name in self._processes if name not in last)
        broker = f"http://{HOST}:{settings.ports.broker}"
        eventing = EventingController(api.store, session, broker, self._tokens[folder.broker_token])
        self._startup = Startup(folder, settings, api.store, self._processes, eventing, self._migrate)
        tasks = [
            asyncio.create_task(self._start(self._startup, eventing, lambda: supervise(last))),
            asyncio.create_task(PingSourceAdapter(api.store, session, serving.locate).run()),
            asyncio.create_task(self._publish_status()),
        ]
        try:
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait([stopped, served, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in (served, *tasks):
                if task.done() and not task.cancelled() and (error := task.exception()):
                    raise PlatformError(f"the platform broke: {type(error).__name__}: {error}") from error
        finally:
            log.info("ending")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(OSError):
                write_json(folder.status, self._status())
            await serving.stop_requests()  # the last ones' events are for the broker
            await asyncio.gather(*(process.stop() for process in self._processes.values()))
            await asyncio.gather(*supervised)
            api.should_exit = True
            await served

    async def _start(self, startup: Startup, eventing: EventingController, then: Callable[[], None]) -> None:
        """Starts everything, `then` the rest; keeps the broker as the API says, and the database in place."""
        up = asyncio.Event()
        await asyncio.gather(_when(up, LAST_SECONDS, then), self._start_all(startup, up))
        await asyncio.gather(eventing.run(), self._restore_database())

    async def _start_all(self, startup: Startup, up: asyncio.Event) -> None:
        await startup.run()
        log.info("everything is up after %.1f s", time.monotonic() - self._started)
        up.set()

    async def _migrate(self) -> None:
        argv = commands.python_module(*commands.MIGRATE)
        variables = environment.command_environment(self._folder, self._settings)
        await commands.run("migrate", argv, variables, self._folder.processes / "logs")
        self._database_inode = inode(self._folder.database)

    async def _restore_database(self) -> None:
        """A database that somebody removed is made again: functions refuse events without it, and the broker waits.

        The functions' processes are killed because they would keep using the file that is gone. Killed, not ended:
        closing that file would remove the write-ahead log of the new one, which has the same name.
        """
        while True:
            await asyncio.sleep(_DATABASE_SECONDS)
            if inode(self._folder.database) != self._database_inode:
                try:
                    for namespace, revision in self._serving.status():
                        for pid in () if PREDICTOR in revision else self._serving.pids(namespace, revision):
                            with contextlib.suppress(ProcessLookupError):
                                os.killpg(pid, signal.SIGKILL)
                    await self._migrate()
                    log.warning("%s was removed; its tables are made again, empty", self._folder.database)
                except (PlatformError, OSError) as error:
                    log.debug("the database is made later: %s", error)

    async def _publish_status(self) -> None:
        """Keeps status.json current, for `mcqa up`; while it cannot be written, STATUS_PATH still answers."""
        last = None
        while True:
            now = self._status()
            if now != last or not self._folder.status.exists():
                try:
                    await asyncio.to_thread(write_json, self._folder.status, now)
                    last = now
                except OSError as error:
                    log.debug("%s is written later: %s", self._folder.status, error)
            for path, token in self._tokens.items():
                await asyncio.to_thread(restore_token, path, token)
            if self._api.store.trouble:
                await asyncio.to_thread(self._api.store.check)
            await asyncio.sleep(_STATUS_SECONDS)

    def _status_with_uptime(self) -> dict[str, Any]:
        return self._status() | {"up_for": time.monotonic() - self._started}

    def _status(self) -> dict[str, Any]:
        serving = self._serving
        processes = [
            {"name": name, "state": process.state, "pid": process.pid, "port": process.program.port,
             "restarts": process.restarts, "message": process.message}
            for name, process in {"gateway": serving.gateway, **self._processes}.items()
        ]  # fmt: skip
        revisions = [
            {"namespace": key[0], "revision": key[1], "replicas": pool.actual, "wanted": pool.desired,
             "message": pool.failed or pool.message, "pids": serving.pids(*key)}
            for key, pool in sorted(serving.status().items())
        ]  # fmt: skip
        troubles = (*self._storage.failures(), self._api.store.trouble)
        return {
            "pid": os.getpid(),
            "folder": str(self._folder.path),
            "code": self._code,
            "began": self._began,
            "ending": self._stop.is_set(),
            "ready": self._startup is not None and self._startup.done,
            "steps": [
                {"name": s.name, "state": s.state, "detail": s.detail, "seconds": round(s.seconds, 1)}
                for s in (self._startup.steps if self._startup else ())
            ],
            "parts": processes,
            "revisions": revisions,
            "storage": [trouble.to_json() for trouble in troubles if trouble],
        }

    def _serving_settings(self) -> ServingSettings:
        folder, settings = self._folder, self._settings
        return ServingSettings(
            folder=folder.serving,
            cwd=ROOT,
            port=settings.ports.gateway,
            internal_port=settings.ports.internal,
            allowed_hosts=tuple(sorted(allowed_hosts(os.environ))),
            env=environment.base_environment(folder),
            addresses=environment.addresses(settings),
            default_service=(NAMESPACE, INFERENCE_SERVICE),
            replica_cap=settings.replica_cap,
            excused=self._storage.failed_since,
        )


async def _when(happened: asyncio.Event, at_most: float, then: Callable[[], None]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(happened.wait(), at_most)
    then()
