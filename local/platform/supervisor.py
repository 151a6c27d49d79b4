"""The whole loop's one supervisor: the API and what decides in this process, the rest as processes that it keeps.

Everything it knows is on the disk: killed at any moment and started again, it takes over what still runs and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from common.names import INFERENCE_SERVICE, NAMESPACE
from local.kube.server import Server
from local.loopback import HostsError, allowed_hosts
from local.platform import manifests, programs
from local.platform.code import end_older, identity
from local.platform.eventing import Eventing
from local.platform.parts import Part, inherit
from local.platform.pingsource import PingSources
from local.platform.settings import (
    HOST,
    ROOT,
    STATUS_PATH,
    Folder,
    PlatformError,
    Settings,
    write_json,
)
from local.serving.controller import Serving
from local.serving.hosts import PREDICTOR
from local.serving.settings import ServingSettings
from local.sqlite import inode
from local.storage import Watch
from local.tokens import TokenError, read_or_make, restore
from predictor import source

log = logging.getLogger("platform")

TOKEN_PATH = "MCQA_KFP_TOKEN_PATH"
_STATUS_SECONDS = 0.5
_TABLES_SECONDS = 2.0


@dataclass(slots=True)
class Step:
    """One thing of the start, for people: `state` is waiting, running, done or failed (and tried again)."""

    name: str
    state: str = "waiting"
    detail: str = ""
    seconds: float = 0.0


class Platform:
    """`await Platform(folder, settings).run()` until SIGTERM or SIGINT. PlatformError when it cannot start."""

    def __init__(self, folder: Folder, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._stop = asyncio.Event()
        self._steps: list[Step] = []
        self._parts: dict[str, Part] = {}
        self._tokens: dict[Path, str] = {}
        self._began, self._started = time.time(), time.monotonic()
        self._tables = 0
        self._storage = Watch(programs.places(folder))
        self._code = identity()

    async def run(self) -> None:
        folder, settings = self._folder, self._settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await end_older(folder, self._code)
        write_json(folder.environment, programs.loop_environment(folder, settings), mode=0o600)
        try:
            self._tokens = {path: read_or_make(path) for path in (folder.pipelines_token, folder.broker_token)}
            api = Server(folder.path, settings.ports.api, namespace=NAMESPACE, pages={STATUS_PATH: self._spoken})
        except (OSError, TokenError, HostsError) as error:
            raise PlatformError(str(error)) from None
        api.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # they are ours to take
        os.environ |= {name: programs.loop_environment(folder, settings)[name] for name in _OURS}
        serving = Serving(api.store, self._serving_settings(), _resolve)
        self._api, self._serving = api, serving
        self._storage.start()
        try:
            async with serving, aiohttp.ClientSession() as session:
                await self._live(api, serving, session)
        except OSError as error:
            raise PlatformError(str(error)) from None
        finally:
            self._storage.stop()
            api.store.close()

    async def _live(self, api: Server, serving: Serving, session: aiohttp.ClientSession) -> None:
        """Everything runs in here; on the way out, what depends on others ends before them."""
        folder, wanted = self._folder, programs.programs(self._folder, self._settings)
        found = await inherit(folder.parts, wanted)
        self._parts = {one.name: Part(one, folder.parts, lambda: None) for one in wanted}
        served = asyncio.create_task(api.serve())
        kept = [asyncio.create_task(part.keep(session, found.get(name))) for name, part in self._parts.items()]
        broker = f"http://{HOST}:{self._settings.ports.broker}"
        eventing = Eventing(api.store, session, broker, self._tokens[folder.broker_token])
        pings = PingSources(api.store, session, serving.locate)
        tasks = [
            asyncio.create_task(self._start(api, eventing)),
            asyncio.create_task(pings.run()),
            asyncio.create_task(self._tell()),
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
            await asyncio.gather(*(part.stop() for part in self._parts.values()))
            await asyncio.gather(*kept)
            api.should_exit = True
            await served

    async def _start(self, api: Server, eventing: Eventing) -> None:
        """What has to happen once, each step repeated until it succeeds; then keeps the broker as the API says."""
        folder, settings, parts = self._folder, self._settings, self._parts
        python = sys.executable
        environment = {**programs.base_environment(folder), **programs.loop_environment(folder, settings)}
        compiled = folder.path / "retraining.yaml"

        async def functions() -> str:
            await self._migrate(environment)
            count = await asyncio.to_thread(self._apply, api, ROOT / "knative")
            return f"{count} changed"

        async def broker() -> str:
            await parts["broker"].ready.wait()
            eventing.forget()
            await eventing.sync()
            return f"port {settings.ports.broker}"

        async def registry() -> str:
            await parts["mlflow"].ready.wait()
            arguments = ["--source", settings.source, "--webhook-url", programs.webhook_url(settings)]
            await self._command("bootstrap", [python, "-m", "pipelines.bootstrap", *arguments], environment)
            return f"http://{HOST}:{settings.ports.mlflow}"

        async def pipeline() -> str:
            from local.pipelines.upload import upload

            await parts["pipelines"].ready.wait()
            await self._command(
                "compile", [python, "-m", "pipelines.retraining", "compile", str(compiled)], environment
            )
            url = f"http://{HOST}:{settings.ports.pipelines}"
            await asyncio.to_thread(upload, environment, "coding-mcqa-retraining", compiled)
            return url

        async def model() -> str:
            await asyncio.to_thread(self._apply, api, ROOT / "kserve")
            while not _ready(api, "InferenceService", INFERENCE_SERVICE):
                await asyncio.sleep(0.2)
            return f"http://{HOST}:{settings.ports.gateway}"

        async def services() -> str:
            names = [
                item["metadata"]["name"] for item in api.store.list("Service.serving.knative.dev", NAMESPACE).items
            ]
            while not all(_ready(api, "Service.serving.knative.dev", name) for name in names):
                await asyncio.sleep(0.2)
            return ", ".join(name for name in names if not name.endswith("-predictor"))

        # In order where one needs the other, side by side where not: MLflow takes the longest to come up.
        first = self._step("events and functions", functions)
        await first
        await asyncio.gather(
            self._step("broker", broker),
            self._in_order(self._step("model registry", registry), self._step("model server", model)),
            self._step("pipelines", pipeline),
            self._step("functions ready", services),
        )
        log.info("everything is up after %.1f s", time.monotonic() - self._started)
        await asyncio.gather(eventing.run(), self._keep_tables(environment))

    async def _migrate(self, environment: Mapping[str, str]) -> None:
        await self._command("migrate", [sys.executable, "-m", "functions.migrate"], environment)
        self._tables = inode(self._folder.database)

    async def _keep_tables(self, environment: Mapping[str, str]) -> None:
        """A database that somebody removed is made again: functions refuse events without it, and the broker waits.

        Their processes are killed, for they would go on with the file that is gone. Killed, not ended: closing that
        file would remove the write-ahead log of the new one, which has the same name.
        """
        while True:
            await asyncio.sleep(_TABLES_SECONDS)
            if inode(self._folder.database) != self._tables:
                try:
                    for key in self._serving.status():
                        for pid in () if PREDICTOR in key[1] else self._serving.pids(*key):
                            with contextlib.suppress(ProcessLookupError):
                                os.killpg(pid, signal.SIGKILL)
                    await self._migrate(environment)
                    log.warning("%s was removed; its tables are made again, empty", self._folder.database)
                except (PlatformError, OSError) as error:
                    log.debug("the database is made later: %s", error)

    async def _in_order(self, *steps: Awaitable[None]) -> None:
        for step in steps:
            await step

    def _step(self, name: str, act: Callable[[], Awaitable[str]]) -> Awaitable[None]:
        """Shown from now on; done once `act` has succeeded."""
        step = Step(name)
        self._steps.append(step)

        async def run() -> None:
            began, pause = time.monotonic(), 0.5
            while True:
                step.state = "running"
                try:
                    step.detail = await act()
                except Exception as error:  # whatever it is, it is shown and tried again
                    step.state, step.detail = "failed", str(error) or type(error).__name__
                    log.warning("%s: %s; again in %.1f s", name, step.detail, pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 15.0)
                    continue
                step.state, step.seconds = "done", time.monotonic() - began
                log.info("%s: %s (%.1f s)", name, step.detail, step.seconds)
                return

        return run()

    def _apply(self, api: Server, folder: Path) -> int:
        settings = self._settings
        config = {TOKEN_PATH: str(self._folder.pipelines_token), **settings.config}
        items = [*manifests.overlaid(manifests.read(folder), config, settings.schedules)]
        if any(item["kind"] == "Namespace" for item in items):
            items.insert(1, _secret(programs.secret(self._folder)))
        return manifests.apply(api.store, items)

    async def _command(self, name: str, argv: list[str], environment: Mapping[str, str]) -> None:
        """Runs a command to its end, its output in a log; PlatformError with its last line when it fails."""
        path = self._folder.path / "platform" / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv, cwd=ROOT, env=dict(environment), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                process.terminate()
                await process.wait()
                raise
        if code:
            lines = path.read_text(errors="replace").strip().splitlines()
            raise PlatformError(f"{name} ended with {code}: {lines[-1] if lines else 'it said nothing'}"[:300])

    async def _tell(self) -> None:
        """Keeps status.json as things are, for `mcqa up`; while it cannot be written, STATUS_PATH says them."""
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
                await asyncio.to_thread(restore, path, token)
            if self._api.store.trouble:
                await asyncio.to_thread(self._api.store.check)
            await asyncio.sleep(_STATUS_SECONDS)

    def _spoken(self) -> dict[str, Any]:
        return self._status() | {"up_for": time.monotonic() - self._started}

    def _status(self) -> dict[str, Any]:
        serving = self._serving
        parts = [
            {"name": name, "state": part.state, "pid": part.pid, "port": part.program.port, "restarts": part.restarts,
             "message": part.message}
            for name, part in {"gateway": serving.gateway, **self._parts}.items()
        ]  # fmt: skip
        revisions = [
            {"namespace": key[0], "revision": key[1], "replicas": pool.actual, "wanted": pool.desired,
             "message": pool.failed or pool.message, "pids": serving.pids(*key)}
            for key, pool in sorted(serving.status().items())
        ]  # fmt: skip
        return {
            "pid": os.getpid(),
            "folder": str(self._folder.path),
            "code": self._code,
            "began": self._began,
            "ending": self._stop.is_set(),
            "ready": len(self._steps) >= 5 and all(step.state == "done" for step in self._steps),
            "steps": [
                {"name": s.name, "state": s.state, "detail": s.detail, "seconds": round(s.seconds, 1)}
                for s in self._steps
            ],
            "parts": parts,
            "revisions": revisions,
            "storage": [one.shown() for one in (*self._storage.troubles(), self._api.store.trouble) if one],
        }

    def _serving_settings(self) -> ServingSettings:
        folder, settings = self._folder, self._settings
        return ServingSettings(
            folder=folder.serving,
            cwd=ROOT,
            port=settings.ports.gateway,
            internal_port=settings.ports.internal,
            allowed_hosts=tuple(sorted(allowed_hosts(os.environ))),
            env=programs.base_environment(folder),
            addresses=programs.addresses(settings),
            default_service=(NAMESPACE, INFERENCE_SERVICE),
            replica_cap=settings.replica_cap,
            excused=self._storage.seen_since,
        )


_OURS = ("MLFLOW_TRACKING_URI", "MCQA_CACHE")
"""What resolving a version needs, in this process too."""


def _resolve(uri: str) -> Path:
    return source.resolve(uri)


def _ready(api: Server, kind: str, name: str) -> bool:
    item = api.store.get(kind, name, NAMESPACE)
    status = item.get("status") or {}
    if kind == "InferenceService":
        # Its observedGeneration is that of its Knative Service, so that one must have seen its own spec.
        seen = _ready(api, "Service.serving.knative.dev", name + PREDICTOR)
    else:
        seen = status.get("observedGeneration") == item["metadata"]["generation"]
    return seen and any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


def _secret(values: Mapping[str, str]) -> dict[str, Any]:
    import base64

    data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    metadata = {"name": "loop", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
