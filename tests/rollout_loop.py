"""What the rollout function works with, for its tests: a real Kubernetes-shaped API with real serving, a registered
model on a real MLflow server, a database, and a sink that records events and may pass them on.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import Engine

from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest, LoggedResponse
from functions.database import transaction
from local.kube.server import ApiServer
from local.kube.store import ResourceStore
from local.serving.controller import ServingController
from local.serving.settings import ServingSettings

ROOT = Path(__file__).resolve().parents[1]
WORKLOAD = ROOT / "tests" / "local" / "serving" / "serving_workload.py"
NAMESPACE = "default"
ANNOTATION = "coding-mcqa/model-version"
SECRET = "a secret of the tests"


@dataclass
class Cluster:
    """The API and its controllers, on a thread with an event loop of its own."""

    folder: Path
    server: ApiServer = field(init=False)
    serving: ServingController = field(init=False)

    @property
    def store(self) -> ResourceStore:
        return self.server.store

    @property
    def kubeconfig(self) -> Path:
        return self.server.kubeconfig

    def isvc(self, name: str) -> dict[str, Any]:
        return self.store.get("InferenceService", name, NAMESPACE)

    def predictor(self, name: str) -> dict[str, Any]:
        actual: dict[str, Any] = self.isvc(name)["spec"]["predictor"]
        return actual

    def traffic(self, name: str) -> dict[str, int]:
        """Percent by model version, as the controllers report it."""
        part = self.isvc(name)["status"]["components"]["predictor"]
        shares: Counter[str] = Counter()
        for target in part["traffic"]:
            revision = self.store.get("Revision", target["revisionName"], NAMESPACE)
            shares[revision["metadata"]["annotations"][ANNOTATION]] += target["percent"]
        return {version: percent for version, percent in shares.items() if percent}

    def deploy(self, name: str, model: str, version: str) -> None:
        self.store.create(
            {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "predictor": {
                        "minReplicas": 0,
                        "annotations": {ANNOTATION: version},
                        "model": {"modelFormat": {"name": "tests"}, "storageUri": f"mlflow://{model}/{version}"},
                    }
                },
            }
        )
        until(lambda: self._ready(name))

    def _ready(self, name: str) -> bool:
        conditions = (self.isvc(name).get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ServingRuntime",
    "metadata": {"name": "tests", "namespace": NAMESPACE},
    "spec": {
        "supportedModelFormats": [{"name": "tests", "autoSelect": True}],
        "containers": [
            {"name": "kserve-container", "image": "dev.local/workload:1", "command": ["python", str(WORKLOAD)]}
        ],
    },
}


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A storageUri whose version begins with `broken` never becomes a folder, so that its revision is never ready."""
    made = Cluster(folder)
    made.server = ApiServer(folder, 0)
    made.store.create(RUNTIME)
    started, failed = threading.Event(), []

    def resolve(uri: str) -> Path:
        if uri in broken:
            raise OSError(f"{uri} is broken")
        return folder

    async def serve() -> None:
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        settings = ServingSettings(folder=folder, cwd=ROOT, env=env, first_backoff=0.05)
        async with ServingController(made.store, settings, resolve) as serving:
            made.serving = serving
            started.set()
            await made.server.serve()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            failed.append(error)
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(30)
    try:
        assert not failed, failed
        until(lambda: made.server.started)
        yield made
    finally:
        made.server.should_exit = True
        thread.join(40)
        made.store.close()
    assert not failed, failed


broken: set[str] = set()
"""storageUris that cannot be fetched, while they are in here."""


@dataclass
class Model:
    """A registered model of its own on the MLflow server."""

    url: str
    name: str

    def call(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        options: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
        response = httpx2.request(method, f"{self.url}/api/2.0/mlflow/{path}", timeout=30, **options)
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.json()
        return data

    def create(self, versions: int) -> None:
        self.call("POST", "registered-models/create", name=self.name)
        for _ in range(versions):
            self.add()

    def add(self, **tags: str) -> str:
        listed = [{"key": key, "value": value} for key, value in tags.items()]
        run = self.call("POST", "runs/create", experiment_id="0", start_time=0)["run"]["info"]
        about = {"source": f"{run['artifact_uri']}/model", "run_id": run["run_id"], "tags": listed}
        made = self.call("POST", "model-versions/create", name=self.name, **about)
        return str(made["model_version"]["version"])

    def alias(self, alias: str, version: str) -> None:
        self.call("POST", "registered-models/alias", name=self.name, alias=alias, version=version)

    @property
    def aliases(self) -> dict[str, str]:
        model = self.call("GET", "registered-models/get", name=self.name)["registered_model"]
        return {item["alias"]: str(item["version"]) for item in model.get("aliases", ())}

    def tags(self, version: str) -> dict[str, str]:
        details = self.call("GET", "model-versions/get", name=self.name, version=version)["model_version"]
        return {tag["key"]: tag["value"] for tag in details.get("tags", ())}

    def untag(self, version: str, key: str) -> None:
        self.call("DELETE", "model-versions/delete-tag", name=self.name, version=version, key=key)


class SinkServer:
    """Records CloudEvents and answers with `status`; what `forward` takes is given to it on a thread of its own."""

    def __init__(self) -> None:
        self.status = 202
        self.events: list[dict[str, Any]] = []
        self.forward: Callable[[dict[str, str], bytes], None] | None = None
        self._forwarding: list[threading.Thread] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if sink.status == 202:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    sink.events.append({**headers, "data": json.loads(body)})
                    if sink.forward is not None:
                        thread = threading.Thread(target=sink.forward, args=(headers, body))
                        thread.start()
                        sink._forwarding.append(thread)
                self.send_response(sink.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def of(self, *types: str) -> list[dict[str, Any]]:
        """The events whose type's last words are these, each id once, as a receiver that dedupes sees them."""
        once = {event["ce-id"]: event for event in reversed(self.events)}
        return [event for event in reversed(once.values()) if any(name in event["ce-type"] for name in types)]

    def stop(self) -> None:
        self.forward = None
        self.server.shutdown()
        self.thread.join()
        for thread in self._forwarding:
            thread.join(30)
        self.server.server_close()


def traffic(
    engine: Engine,
    versions: dict[str, int],
    since: float,
    failing: tuple[str, ...] = (),
    wrong: tuple[str, ...] = (),
) -> None:
    """Logs answered questions with feedback, this many a version, asked at `since`; `failing` versions answer only
    every other, `wrong` ones are wrong every other time.
    """
    rows: dict[Any, list[dict[str, Any]]] = {
        table: [] for table in (LoggedRequest, LoggedResponse, AskedQuestion, GivenAnswer, GivenFeedback)
    }
    question = {"question": "1 + 1?", "choices": ["2", "3"]}
    for version, count in versions.items():
        for number in range(count):
            key = {"source": "/tests", "id": f"{version}-{since}-{time.monotonic_ns()}-{number}"}
            rows[LoggedRequest].append({**key, "version": version, "requested_at": since})
            rows[AskedQuestion].append({**key, "place": 0, "choices": 2, "question": question})
            if version in failing and number % 2:
                continue
            rows[LoggedResponse].append({**key, "version": version, "responded_at": since + 0.02})
            answer = {"letter": "A", "confidence": 0.9, "entropy": 0.1, "margin": 0.8, "letter_mass": 1.0}
            more = {"prompt_tokens": 10, "version": version, "answered_at": since + 0.02}
            rows[GivenAnswer].append({**key, "place": 0, **answer, **more})
            right = "B" if version in wrong and number % 2 else "A"
            data = {"answer_id": key["id"], "place": 0, "letter": right, "given_at": since + 1}
            rows[GivenFeedback].append({**key, **data})
    with transaction(engine) as connection:
        for table, values in rows.items():
            if values:
                connection.execute(table.__table__.insert(), values)


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `true` returned once it was true; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(KeyError, StopIteration):
            if value := true():
                return value
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.03)
