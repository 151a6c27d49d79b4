"""A server process to measure: it is started, answers once, its memory is read, and it is ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.real_size import CACHE
from common.names import INFERENCE_SERVICE
from local.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 180.0


@dataclass(frozen=True, slots=True)
class Server:
    process: subprocess.Popen[bytes]
    url: str
    log: Path
    first_answer: float
    """Seconds from the process's start to the first answer."""

    def stages(self) -> dict[str, float]:
        """The start-up line of the server's log: stage -> seconds since the process began."""
        for line in self.log.read_text().splitlines():
            if '"start-up"' in line:
                return dict(json.loads(line)["stages"])
        return {}

    def peak_memory(self) -> int:
        """Bytes resident at most so far, mapped weights included."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def free_port() -> int:
    return free_ports(1)[0]


@contextmanager
def serving(command: Sequence[str], body: dict[str, Any], *, name: str) -> Iterator[Server]:
    """`command`, started with {port} and {grpc_port} filled in; yields once v1 :predict has answered `body`."""
    port, grpc_port = free_port(), free_port()
    log = CACHE / f"{name}.log"
    filled = [part.format(port=port, grpc_port=grpc_port) for part in command]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as sink:
        start = time.perf_counter()
        process = subprocess.Popen(filled, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, env=os.environ)
    try:
        with httpx2.Client(timeout=START_TIMEOUT) as http:
            while not _answers(http, url, body):
                if process.poll() is not None or time.perf_counter() - start > START_TIMEOUT:
                    raise RuntimeError(f"{name} did not answer; its log: {log}\n{log.read_text()[-2000:]}")
                time.sleep(0.02)
        yield Server(process, url, log, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait(60)


def predictor(folder: Path, *options: str) -> list[str]:
    ports = ["--http-port", "{port}", "--grpc-port", "{grpc_port}"]
    return [sys.executable, "-m", "predictor", "--model", str(folder), *ports, *options]


def _answers(http: httpx2.Client, url: str, body: dict[str, Any]) -> bool:
    try:
        return http.post(f"{url}/v1/models/{INFERENCE_SERVICE}:predict", json=body).status_code == 200
    except httpx2.TransportError:
        return False
