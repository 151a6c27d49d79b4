"""One MLflow server for all tests of this folder; every test has its own cache."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from mlflow import MlflowClient

from tests.predictor.storage.mlflow.registry import NAME, Proxy, Registry, healthy, make_folder


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """A tracking server on SQLite that serves artifacts, as the README starts it."""
    home = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{home}/mlflow.db",
        "--artifacts-destination",
        str(home / "artifacts"),
    ]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    url = f"http://127.0.0.1:{port}"
    with (home / "log").open("wb") as output:
        server = subprocess.Popen(command, cwd=home, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not healthy(url):
            assert server.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.fixture(scope="session")
def registry(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    client = MlflowClient(tracking_uri=mlflow_url)
    whole, lora = (make_folder(tmp_path_factory.mktemp("model") / kind) for kind in ("whole", "lora"))
    (lora / "base").mkdir()
    (lora / "model.safetensors").rename(lora / "base" / "model.safetensors")
    (lora / "base" / "config.json").write_text("{}")
    (lora / "adapter_config.json").write_text("{}")
    (lora / "adapter_model.safetensors").write_bytes(os.urandom(2000))
    registry = Registry(mlflow_url, client, client.create_experiment("versions"), whole, lora)
    client.create_registered_model(NAME)
    assert [registry.register(NAME, whole), registry.register(NAME, lora)] == ["1", "2"]
    return registry


@pytest.fixture(autouse=True)
def environment(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MCQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def proxy(registry: Registry, monkeypatch: pytest.MonkeyPatch, processes: None) -> Iterator[Proxy]:
    with Proxy(registry.url) as proxy:
        thread = Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        yield proxy
        proxy.release.set()
        proxy.shutdown()
        thread.join()
