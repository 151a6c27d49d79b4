"""What the embedded gateway costs, and how long a service that is scaled to zero takes to answer.

Overhead: one client asks the tiny predictor alternately through the gateway (with payload events, as the
InferenceService of kserve/ has them) and at the predictor's own port; the median of the paired differences. Scale from
zero: the time from a request to its answer when no process is there, of the function `collect` and of the predictor,
five times each; besides, the bare start of each function, from the process to the open port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.results import Row, median, report
from common.event_types import FEEDBACK
from common.names import INFERENCE_SERVICE, NAMESPACE
from local.kube.store import ResourceStore
from local.platform import manifests
from local.platform.settings import ROOT
from local.ports import free_ports
from local.serving.controller import ServingController
from local.serving.settings import ServingSettings

FUNCTIONS = ("collect", "drift", "rollout", "retrain", "notify", "dead_letters")
PAIRS, STARTS = 400, 5
QUESTION = {"instances": [{"question": "What does print(7 // 2) show?", "choices": ["3", "3.5", "4"]}]}
WINDOW = "autoscaling.knative.dev/window"
MODEL, FUNCTION = "InferenceService", "Service.serving.knative.dev"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-gateway-") as folder:
        rows = asyncio.run(measure(Path(folder)))
        rows += [
            Row(f"start of the function {name}", bare_start(name, Path(folder)), "s", at_most=1.0) for name in FUNCTIONS
        ]
    report("gateway: the embedded platform", rows)


async def measure(folder: Path) -> list[Row]:
    async with platform(folder) as (store, serving, http):
        await ready(store, MODEL, INFERENCE_SERVICE)
        await ready(store, FUNCTION, "collect")
        rows = await overhead(serving, http)
        model = {"host": f"{INFERENCE_SERVICE}.{NAMESPACE}.localhost"}
        event = {
            "host": f"collect.{NAMESPACE}.svc.cluster.local", "ce-id": "1", "ce-source": "/b", "ce-specversion": "1.0",
            "ce-type": FEEDBACK,
        }  # fmt: skip
        predict = f"http://127.0.0.1:{serving.port}/v1/models/{INFERENCE_SERVICE}:predict"
        answer = await from_zero(
            serving, f"{INFERENCE_SERVICE}-predictor", lambda: http.post(predict, json=QUESTION, headers=model)
        )
        body = {"answer_id": "a", "answer": 1}
        gateway = f"http://127.0.0.1:{serving.internal_port}/"  # functions are cluster-local
        function = await from_zero(serving, "collect", lambda: http.post(gateway, json=body, headers=event))
        return [
            *rows,
            Row("from zero to an answer: the function collect", function, "s"),
            Row("from zero to an answer: the tiny predictor", answer, "s"),
        ]


@contextlib.asynccontextmanager
async def platform(folder: Path) -> AsyncIterator[tuple[ResourceStore, ServingController, aiohttp.ClientSession]]:
    """The manifests' model and functions in a Serving of our own, and a sink for the model's payload events."""
    store = ResourceStore(folder / "kube.sqlite")
    async with sink() as address, aiohttp.ClientSession() as http:
        settings = ServingSettings(
            folder=folder,
            cwd=ROOT,
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            addresses={"broker-ingress.knative-eventing.svc.cluster.local": address},
            replica_cap=1,
        )
        database = f"sqlite:///{folder / 'loop.db'}"
        migrate(database)
        documents = manifests.load(ROOT / "knative")
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "loop", "namespace": NAMESPACE}}
        wanted = [item for item in documents if item["kind"] in ("Namespace", "ConfigMap")]
        wanted += [{**secret, "stringData": {"MCQA_DATABASE_URL": database}}]
        wanted += [item for item in documents if item["kind"] == "Service" and item["metadata"]["name"] == "collect"]
        items = [*wanted, *manifests.load(ROOT / "kserve")]
        for item in items:  # the shortest window that Knative allows: scaling down is not what is measured
            if item["kind"] == "Service":
                item["spec"]["template"]["metadata"]["annotations"][WINDOW] = "6s"
            if item["kind"] == "InferenceService":
                item["spec"]["predictor"]["annotations"][WINDOW] = "6s"
        manifests.apply(store, items)
        async with ServingController(store, settings, lambda uri: ROOT / "models" / "tiny") as serving:
            yield store, serving, http
    store.close()


def migrate(database: str) -> None:
    command = [sys.executable, "-m", "functions.migrate"]
    subprocess.run(command, env={**os.environ, "MCQA_DATABASE_URL": database}, check=True)


@contextlib.asynccontextmanager
async def sink() -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=202)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def overhead(serving: ServingController, http: aiohttp.ClientSession) -> list[Row]:
    (port,) = [port for key in serving.status() if "-predictor-" in key[1] for port in serving.ports(*key)]
    direct = f"http://127.0.0.1:{port}/v1/models/{INFERENCE_SERVICE}:predict"
    through = f"http://127.0.0.1:{serving.port}/v1/models/{INFERENCE_SERVICE}:predict"
    headers = {"host": f"{INFERENCE_SERVICE}.{NAMESPACE}.localhost"}

    async def ask(url: str) -> float:
        began = time.perf_counter()
        async with http.post(url, json=QUESTION, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        return (time.perf_counter() - began) * 1000

    for _ in range(20):
        await ask(direct), await ask(through)
    pairs = [(await ask(direct), await ask(through)) for _ in range(PAIRS)]
    return [
        Row("predictor alone, median", median([a for a, _ in pairs]), "ms"),
        Row("through the gateway adds, median", median([b - a for a, b in pairs]), "ms", at_most=2.0),
    ]


async def from_zero(serving: ServingController, service: str, ask: Callable[[], Any]) -> float:
    """The median seconds of STARTS requests, each to a service whose last process has ended for lack of requests."""
    times = []
    for _ in range(STARTS):
        await scaled_to_zero(serving, service)
        began = time.perf_counter()
        async with ask() as answer:
            assert answer.status in (200, 202, 204), (answer.status, await answer.text())
        times.append(time.perf_counter() - began)
    return median(times)


async def scaled_to_zero(serving: ServingController, service: str) -> None:
    while True:
        if not any(serving.pids(*key) for key in serving.status() if key[1].startswith(f"{service}-0")):
            return
        await asyncio.sleep(0.1)


async def ready(store: ResourceStore, kind: str, name: str) -> None:
    async with asyncio.timeout(120):
        while True:
            status = store.get(kind, name, NAMESPACE).get("status") or {}
            if any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()):
                return
            await asyncio.sleep(0.1)


def bare_start(name: str, folder: Path) -> float:
    """The median seconds from starting the function's command to its open port."""
    times = []
    for _ in range(STARTS):
        (port,) = free_ports(1)
        env = {
            **os.environ, "PORT": str(port), "HOST": "127.0.0.1",
            "MCQA_DATABASE_URL": f"sqlite:///{folder / 'loop.db'}",
            "K_SINK": "http://127.0.0.1:9/", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "KFP_ENDPOINT": "http://127.0.0.1:9", "MCQA_WEBHOOK_SECRET": "secret",
        }  # fmt: skip
        env.setdefault("KUBECONFIG", str(_kubeconfig(folder)))
        command = [sys.executable, "-m", "functions_framework", f"--source=functions/{name}/handler.py"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--target=handle", "--signature-type=http"], cwd=ROOT, env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, f"the function {name} does not start"
            time.sleep(0.005)
        times.append(time.perf_counter() - began)
        os.killpg(process.pid, 9)
        process.wait()
    return median(times)


def _kubeconfig(folder: Path) -> Path:
    """Of a cluster that is not there: a function must start without it."""
    path = folder / "kubeconfig"
    cluster = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:9', insecure-skip-tls-verify: true}}]"
    context = "contexts: [{name: c, context: {cluster: c, user: u}}]"
    path.write_text(
        f"apiVersion: v1\nkind: Config\n{cluster}\n{context}\nusers: [{{name: u, user: {{}}}}]\ncurrent-context: c\n"
    )
    return path


if __name__ == "__main__":
    main()
