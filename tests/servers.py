"""Real servers for tests: `python -m predictor` on free ports of 127.0.0.1, awaited, and stopped again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT = 120.0

QUESTION: dict[str, Any] = {"question": "What does print(1 + 1) show?", "choices": ["1", "2", "11", "an error"]}
PREDICT = "/v1/models/coding-mcqa:predict"
EXPLAIN = "/v1/models/coding-mcqa:explain"
INFER = "/v2/models/coding-mcqa/infer"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class RunningServer:
    """A server process. `log` holds what it wrote to stderr: JSON lines."""

    process: subprocess.Popen[bytes]
    port: int
    grpc_port: int
    log: Path
    client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx2.Client(base_url=self.url, timeout=60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def post(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        return self.client.post(path, json=body, **options)

    def ask(self, *questions: Mapping[str, Any], **parameters: Any) -> httpx2.Response:
        """v1 :predict of these questions."""
        body: dict[str, Any] = {"instances": list(questions)}
        return self.post(PREDICT, {**body, "parameters": parameters} if parameters else body)

    def lines(self, message: str = "") -> list[dict[str, Any]]:
        """The log's lines, all or those with this message."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if not message or line["message"] == message]

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 when there is none."""
        from prometheus_client.parser import text_string_to_metric_families

        total = 0.0
        for family in text_string_to_metric_families(self.client.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    def wait_for(self, condition: Any, seconds: float = 30.0) -> None:
        """Until condition() holds; AssertionError when it does not within `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.02)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM; the exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def start(
    model: Path | str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    command: Sequence[str] = (sys.executable, "-m", "predictor"),
) -> RunningServer:
    """A server that is ready; RuntimeError with the end of its log when it does not become so."""
    port, grpc_port = free_port(), free_port()
    with tempfile.NamedTemporaryFile(prefix="mcqa-server-", suffix=".log", delete=False) as log:
        process = subprocess.Popen(
            [*command, "--model", str(model), "--http-port", str(port), "--grpc-port", str(grpc_port), *arguments],
            cwd=ROOT,
            env={**_clean_environment(), **(env or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    _pin(process)
    server = RunningServer(process, port, grpc_port, Path(log.name))
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if server.client.get("/v2/health/ready").status_code == 200:
                return server
        time.sleep(0.05)
    server.stop()
    raise RuntimeError(f"the server did not start:\n{server.log.read_text()[-4000:]}")


@contextlib.contextmanager
def running(model: Path | str, *arguments: str, **options: Any) -> Iterator[RunningServer]:
    server = start(model, *arguments, **options)
    try:
        yield server
    finally:
        server.stop()
        server.log.unlink(missing_ok=True)


def tensors(*questions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """v2 JSON inputs of these questions."""
    width = max(len(question["choices"]) for question in questions)
    rows = [[*question["choices"], *[""] * (width - len(question["choices"]))] for question in questions]
    return [
        {
            "name": "question",
            "shape": [len(questions)],
            "datatype": "BYTES",
            "data": [question["question"] for question in questions],
        },
        {
            "name": "choices",
            "shape": [len(questions), width],
            "datatype": "BYTES",
            "data": [choice for row in rows for choice in row],
        },
    ]


def _clean_environment() -> dict[str, str]:
    """The environment without settings of a server or a tracer that the developer's shell may hold."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MCQA_", "OTEL_", "PORT", "K_REVISION"))}


def _pin(process: subprocess.Popen[bytes]) -> None:
    """One core a server: two threads of one on cores that other tests use wait for each other, 100 times slower."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(process.pid, {cores[process.pid % len(cores)]})
