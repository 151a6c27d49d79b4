"""A real MLflow server's registry with versions in it, and a proxy before it that breaks things on order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

import httpx2
import pytest
from mlflow import MlflowClient

from predictor.storage.errors import StorageError
from predictor.storage.resolver import resolve

ROOT = Path(__file__).parents[4]
WEIGHTS = 3_000_000
NAME = "coding-mcqa"


def healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


@dataclass(frozen=True)
class Registry:
    """A registry with versions 1 and 2 of coding-mcqa: a whole model, and a LoRA adapter with its base."""

    url: str
    client: MlflowClient
    experiment: str
    whole: Path
    lora: Path

    def log(self, folder: Path) -> tuple[str, str]:
        """(model id, artifact location) of the folder logged as the pipeline does it: at the root, in HF layout."""
        model = self.client.create_logged_model(experiment_id=self.experiment, name="tiny")
        self.client.log_model_artifacts(model.model_id, str(folder))
        self.client.finalize_logged_model(model.model_id, "READY")
        return model.model_id, model.artifact_location

    def register(self, name: str, folder: Path) -> str:
        """The new version's number."""
        model_id, _ = self.log(folder)
        return str(self.client.create_model_version(name, f"models:/{model_id}", model_id=model_id).version)


def make_folder(folder: Path, **extra: bytes) -> Path:
    folder.mkdir(parents=True)
    files = {
        "config.json": b'{"model_type": "qwen2"}',
        "tokenizer.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
        "empty.txt": b"",
        "MLmodel": b"flavors: {}",
        "model.safetensors": os.urandom(WEIGHTS),
    }
    for name, content in {**files, **extra}.items():
        (folder / name).write_bytes(content)
    return folder


class Proxy(ThreadingHTTPServer):
    """Forwards GETs to MLflow. `hold` stops the weights' body after that many bytes until `release` is set; `cut`
    closes the connection there, once; `rewrite` changes JSON bodies; `fail` holds (status, body) to answer first."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.target = target
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.hold = self.cut = 0
        self.release = Event()
        self.rewrite: Callable[[str, dict], object] = lambda path, body: body
        self.fail: list[tuple[int, dict[str, str], str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def seen(self, suffix: str) -> list[dict[str, str]]:
        """The headers of every request for a path with this ending."""
        return [headers for path, headers in self.requests if path.partition("?")[0].endswith(suffix)]


class ProxyHandler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.server.requests.append((self.path, headers))
        if self.server.fail:
            status, extra, text = self.server.fail.pop(0)
            return self._answer(status, {"content-length": str(len(text)), **extra}, text.encode())
        forward = {k: v for k, v in headers.items() if k in ("range", "accept-encoding")}
        response = httpx2.get(self.server.target + self.path, headers=forward, trust_env=False, timeout=60)
        body = response.content
        kept = {k: v for k, v in response.headers.items() if k in ("content-range", "content-type", "location")}
        if "/artifacts/" not in self.path and response.status_code == 200:
            body = json.dumps(self.server.rewrite(self.path, response.json())).encode()
        return self._answer(response.status_code, {**kept, "content-length": str(len(body))}, body)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        weights = self.path.endswith(".safetensors")
        if weights and self.server.cut:
            body, self.server.cut = body[: self.server.cut], 0
            self.close_connection = True
        if weights and self.server.hold:
            self.wfile.write(body[: self.server.hold])
            self.server.release.wait(60)
            body = body[self.server.hold :]
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def spawn(uri: str) -> subprocess.Popen[str]:
    """A process that resolves `uri` and prints the folder."""
    code = "import sys; from predictor.storage.resolver import resolve; print(resolve(sys.argv[1]))"
    return subprocess.Popen([sys.executable, "-c", code, uri], cwd=ROOT, text=True, stdout=subprocess.PIPE)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name[0] != "."}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def refusal(uri: str) -> str:
    """The one line that `resolve` fails with."""
    with pytest.raises(StorageError) as error:
        resolve(uri)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(uri)
    return str(error.value)
