"""A real MLflow server, started as the embedded platform starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx2

from local.platform import mlflow_server as embedded_mlflow


@contextlib.contextmanager
def mlflow_server(folder: Path, hosts: Sequence[str] = ()) -> Iterator[str]:
    """The server's URL. Webhooks may go to loopback addresses. `hosts` are further names of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    env = {**kept, **embedded_mlflow.environment(embedded_mlflow.new_encryption_key(os.urandom(32)))}
    url = f"http://127.0.0.1:{port}"
    with serving(embedded_mlflow.command(folder, port, hosts), env, folder, f"{url}/health"):
        yield url


@contextlib.contextmanager
def serving(
    command: Sequence[str], env: Mapping[str, str], folder: Path, probe: str, headers: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Until the block ends; from when `probe` is answered 200, asked with `headers`."""
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not _answers(probe, headers):
            assert server.poll() is None, (folder / "mlflow.log").read_text()[-4000:]
            assert time.monotonic() < deadline, (folder / "mlflow.log").read_text()[-4000:]
            time.sleep(0.2)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(probe: str, headers: Mapping[str, str] | None) -> bool:
    try:
        return httpx2.get(probe, headers=headers, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False
