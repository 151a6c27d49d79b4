"""A loop of which only the broker runs, in a folder that says where it is: what read models and the page look for."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import yaml
from lightkube import Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace

from common.names import NAMESPACE
from functions.database import engine
from functions.migrate import migrate
from local.platform.settings import Folder, Ports, Settings
from local.tokens import read_token

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class SmallLoop:
    """`environ` is what the loop's own environment says; `broker` takes requests with the admin token."""

    folder: Folder
    url: str
    broker: httpx2.Client
    process: subprocess.Popen[bytes]
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def sink(self) -> str:
        return self.environ["K_SINK"]

    def apply(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        item = {"kind": kind, "metadata": {"name": name, "namespace": "coding-mcqa"}, "spec": spec}
        response = self.broker.put(f"{self.url}/-/objects", json=item)
        assert response.status_code == 204, response.text

    def serve_triggers(self) -> contextlib.AbstractContextManager[None]:
        """A Kubernetes API with the Triggers of `knative/`; `environ` then has its KUBECONFIG."""
        return _kubernetes(self)

    def send(self, id: str, type: str = "test.type", data: Any = None, **attributes: str) -> None:
        headers = {"ce-specversion": "1.0", "ce-id": id, "ce-source": "/test", "ce-type": type}
        headers |= {f"ce-{name}": value for name, value in attributes.items()}
        headers["content-type"] = "application/json"
        response = httpx2.post(self.sink, content=json.dumps(data).encode(), headers=headers)
        assert response.status_code == 202, response.text

    def settle(self, limit: float = 20.0) -> None:
        """Until no delivery waits any more."""
        deadline = time.monotonic() + limit
        while any(figure["depth"] or figure["dead_lettering"] for figure in self._figures()):
            assert time.monotonic() < deadline, self._figures()
            time.sleep(0.05)

    def _figures(self) -> list[dict[str, Any]]:
        figures: list[dict[str, Any]] = self.broker.get(f"{self.url}/-/figures").json()["triggers"]
        return figures


@contextlib.contextmanager
def small_loop(path: Path, gateway: int = 1) -> Iterator[SmallLoop]:
    """`gateway` is the port where the model answers."""
    folder = Folder(path)
    folder.make()
    ports = folder.save(Settings(Ports(gateway=gateway, api=1, broker=0, mlflow=1, pipelines=1, internal=1))).ports
    lock = folder.lock()
    assert lock is not None
    database = engine(url := f"sqlite:///{folder.database}")
    migrate(database)
    database.dispose()
    base = f"http://127.0.0.1:{ports.broker}"
    environ = {"MCQA_LOCAL_DIR": str(path), "K_SINK": f"{base}/coding-mcqa/default", "MCQA_DATABASE_URL": url}
    folder.environment.write_text(json.dumps({**environ, "KUBECONFIG": str(folder.kubeconfig)}))
    command = [sys.executable, "-m", "local.broker", "--database", str(path / "broker" / "broker.db")]
    with (path / "broker.log").open("wb") as log:
        process = subprocess.Popen([*command, "--port", str(ports.broker)], cwd=ROOT, stdout=log, stderr=log)
    try:
        with httpx2.Client(timeout=10) as client:
            _await(process, client, base, path / "broker.log")
            client.headers["Authorization"] = f"Bearer {read_token(folder.broker_token)}"
            loop = SmallLoop(folder, base, client, process, environ)
            loop.apply("Broker", "default", {"delivery": {"retry": 1, "backoffDelay": "PT0.01S"}})
            yield loop
    finally:
        process.kill()
        process.wait()
        lock.close()


@contextlib.contextmanager
def _kubernetes(loop: SmallLoop) -> Iterator[None]:
    folder = loop.folder.path
    command = [sys.executable, "-m", "local.kube", "--dir", str(folder), "--port", "0", "--namespace", NAMESPACE]
    with (folder / "kube.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"export KUBECONFIG="), (folder / "kube.log").read_text()
        loop.environ["KUBECONFIG"] = str(loop.folder.kubeconfig)
        client = Client(config=KubeConfig.from_file(str(loop.folder.kubeconfig)))
        kind: Any = create_namespaced_resource("eventing.knative.dev", "v1", "Trigger", "triggers")
        _until_served(lambda: client.create(Namespace(metadata=ObjectMeta(name=NAMESPACE))))
        for trigger in triggers():
            client.create(kind(trigger), namespace=NAMESPACE)
        yield
    finally:
        process.kill()
        process.wait()


def _until_served(call: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            call()
        except httpx2.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def triggers() -> list[dict[str, Any]]:
    """Those of `knative/`."""
    files = [file for file in sorted((ROOT / "knative").glob("*.yaml")) if file.name != "function.yaml"]  # a patch
    documents = [item for file in files for item in yaml.safe_load_all(file.read_text())]
    return [item for item in documents if isinstance(item, dict) and item.get("kind") == "Trigger"]


def _await(process: subprocess.Popen[bytes], client: httpx2.Client, base: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(httpx2.TransportError):
            if client.get(f"{base}/readyz").status_code == 200:
                return
        time.sleep(0.05)
