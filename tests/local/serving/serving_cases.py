"""What the serving tests share: manifests for a small HTTP server as the workload, and a client."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from polling import until

from local.kube.store import ResourceStore, StatusError
from local.serving.controller import ServingController
from local.serving.inference_status import component_revisions
from local.serving.predictor_service import render, runtime_of
from local.serving.settings import ServingSettings

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
KNATIVE = "Service.serving.knative.dev"


def knative_service(name: str, scale: dict[str, str] | None = None, **env: str) -> dict[str, Any]:
    annotations = {f"autoscaling.knative.dev/{key}": value for key, value in (scale or {}).items()}
    container = {
        "image": "dev.local/workload:1",
        "command": ["python", str(HERE / "serving_workload.py")],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "readinessProbe": {"httpGet": {"path": "/ready"}},
    }
    template = {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": template},
    }


def inference_service(name: str, version: str = "1", **predictor: Any) -> dict[str, Any]:
    container = {
        "name": "kserve-container",
        "image": "dev.local/workload:1",
        "command": ["python", str(HERE / "serving_workload.py")],
        "args": ["--model_name={{.Name}}", "--model_dir=/mnt/models"],
        "env": [{"name": "VERSION", "value": version}],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {"serving.kserve.io/enable-tag-routing": "true"},
        },
        "spec": {"predictor": {"minReplicas": 1, "containers": [container], **predictor}},
    }


@dataclass
class StoreView:
    """What a controller elsewhere has written to the store."""

    store: ResourceStore

    def ready(self, kind: str, name: str, status: str = "True") -> bool:
        item = self.store.get(kind, name)
        seen = (item.get("status") or {}).get("observedGeneration") == self._generation(kind, item)
        conditions = (item.get("status") or {}).get("conditions") or ()
        return seen and any(c["type"] == "Ready" and c["status"] == status for c in conditions)

    def _generation(self, kind: str, item: Any) -> int:
        """What `observedGeneration` must be; an InferenceService's is its Knative Service's, once rendered."""
        if kind != "InferenceService":
            return int(item["metadata"]["generation"])
        try:
            service = self.store.get(KNATIVE, f"{item['metadata']['name']}-predictor")
        except StatusError:
            return -1
        runtime = runtime_of(item, self.store.list("ServingRuntime").items)
        wanted = render(item, runtime, component_revisions(item).latest_rolled_out)
        return int(service["metadata"]["generation"]) if service["spec"] == wanted["spec"] else -1

    async def until(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        return await until(condition, seconds, interval=0.03)

    async def up(self, kind: str, name: str) -> None:
        await self.until(lambda: self.ready(kind, name))


@dataclass
class Platform(StoreView):
    serving: ServingController
    session: aiohttp.ClientSession
    folder: Path

    async def get(self, name: str, path: str = "/", method: str = "GET", **options: Any) -> tuple[int, Any]:
        """Status and JSON of a request to `name.default.localhost`."""
        headers = {"host": f"{name}.default.localhost", **options.pop("headers", {})}
        url = f"http://127.0.0.1:{self.serving.port}{path}"
        async with self.session.request(method, url, headers=headers, **options) as answer:
            return answer.status, await answer.json()


def settings(folder: Path, **more: Any) -> ServingSettings:
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return ServingSettings(**{"folder": folder, "cwd": ROOT, "env": env, "seed": 1, "first_backoff": 0.05, **more})
