"""The start of the platform: what happens once, in which order, each step repeated until it succeeds."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.names import INFERENCE_SERVICE, NAMESPACE, PIPELINE
from local.kube.resources import Object
from local.kube.store import ResourceStore
from local.platform import commands, environment, manifests
from local.platform.commands import python_module
from local.platform.eventing import EventingController
from local.platform.settings import HOST, ROOT, Folder, Settings
from local.platform.supervised_process import SupervisedProcess
from local.serving.hosts import PREDICTOR
from local.storage import backoff_delays

log = logging.getLogger("platform")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_POLL_SECONDS = 0.2


@dataclass(slots=True)
class Step:
    """One step, as people see it: `state` is waiting, running, done or failed (and retried)."""

    name: str
    state: str = "waiting"
    detail: str = ""
    seconds: float = 0.0


class Startup:
    """`await run()` once. `steps` grows as they become known; `done` when all of them have succeeded."""

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        store: ResourceStore,
        processes: Mapping[str, SupervisedProcess],
        eventing: EventingController,
        migrate: Callable[[], Awaitable[None]],
    ) -> None:
        self._folder, self._settings, self._store = folder, settings, store
        self._processes, self._eventing, self._migrate = processes, eventing, migrate
        self._environment = environment.command_environment(folder, settings)
        self.steps: list[Step] = []
        self.done = False

    async def run(self) -> None:
        """In order where one needs the other, side by side where not: MLflow takes the longest to come up."""
        await self._step("events and functions", self._apply_functions)
        await asyncio.gather(
            self._step("broker", self._configure_broker),
            self._in_order(
                self._step("model registry", self._bootstrap_registry), self._step("model server", self._serve_model)
            ),
            self._step("pipelines", self._upload_pipeline),
            self._step("functions ready", self._await_functions),
        )
        self.done = True

    async def _apply_functions(self) -> str:
        await self._migrate()
        return f"{await asyncio.to_thread(self._apply, ROOT / 'knative')} changed"

    async def _configure_broker(self) -> str:
        await self._processes["broker"].ready.wait()
        self._eventing.resend_all()
        await self._eventing.reconcile()
        return f"port {self._settings.ports.broker}"

    async def _bootstrap_registry(self) -> str:
        await self._processes["mlflow"].ready.wait()
        arguments = ("--source", self._settings.source, "--webhook-url", environment.webhook_url(self._settings))
        await self._run_command("bootstrap", python_module(*commands.BOOTSTRAP, *arguments))
        return f"http://{HOST}:{self._settings.ports.mlflow}"

    async def _upload_pipeline(self) -> str:
        package, url = str(self._folder.path / "retraining.yaml"), f"http://{HOST}:{self._settings.ports.pipelines}"
        await self._processes["pipelines"].ready.wait()
        await self._run_command("compile", python_module(*commands.COMPILE_PIPELINE, package))
        await self._run_command("upload", python_module(*commands.UPLOAD_PIPELINE, url, PIPELINE, package))
        return url

    async def _serve_model(self) -> str:
        await asyncio.to_thread(self._apply, ROOT / "kserve")
        await self._until_ready("InferenceService", INFERENCE_SERVICE)
        return f"http://{HOST}:{self._settings.ports.gateway}"

    async def _await_functions(self) -> str:
        names = [item["metadata"]["name"] for item in self._store.list("Service.serving.knative.dev", NAMESPACE).items]
        await self._until_ready("Service.serving.knative.dev", *names)
        return ", ".join(name for name in names if not name.endswith(PREDICTOR))

    async def _until_ready(self, kind: str, *names: str) -> None:
        """Polls: other processes write to the store too."""
        while True:
            if all(_is_ready(self._store, kind, name) for name in names):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _run_command(self, name: str, argv: list[str]) -> None:
        await commands.run(name, argv, self._environment, self._folder.processes / "logs")

    def _apply(self, folder: Path) -> int:
        config = {environment.KFP_TOKEN_VARIABLE: str(self._folder.pipelines_token), **self._settings.config}
        items = [*manifests.with_overrides(manifests.load(folder), config, self._settings.schedules)]
        if any(item["kind"] == "Namespace" for item in items):
            items.insert(1, _secret(environment.secret(self._folder)))
        return manifests.apply(self._store, items)

    async def _in_order(self, *steps: Awaitable[None]) -> None:
        for step in steps:
            await step

    def _step(self, name: str, act: Callable[[], Awaitable[str]]) -> Awaitable[None]:
        """Shown from now on; done once `act` has succeeded."""
        step = Step(name)
        self.steps.append(step)

        async def run() -> None:
            started, delays = time.monotonic(), backoff_delays(_FIRST_PAUSE, _LONGEST_PAUSE)
            while True:
                step.state = "running"
                try:
                    step.detail = await act()
                except Exception as error:  # whatever it is, it is shown and retried
                    log.debug("%s", name, exc_info=True)
                    step.state, step.detail = "failed", str(error) or type(error).__name__
                    pause = delays()
                    log.warning("%s: %s; again in %.1f s", name, step.detail, pause)
                    await asyncio.sleep(pause)
                    continue
                step.state, step.seconds = "done", time.monotonic() - started
                log.info("%s: %s (%.1f s)", name, step.detail, step.seconds)
                return

        return run()


def _is_ready(store: ResourceStore, kind: str, name: str) -> bool:
    item = store.get(kind, name, NAMESPACE)
    status = item.get("status") or {}
    if kind == "InferenceService":
        # Its observedGeneration is that of its Knative Service, so that one must have seen its own spec.
        observed = _is_ready(store, "Service.serving.knative.dev", name + PREDICTOR)
    else:
        observed = status.get("observedGeneration") == item["metadata"]["generation"]
    return observed and any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


def _secret(values: Mapping[str, str]) -> Object:
    data: dict[str, Any] = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    metadata = {"name": "loop", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
