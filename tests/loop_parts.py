"""Parts around a function under test: a sink that notes what it gets, versions in a real registry, logged answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from function_server import ROOT, FunctionServer, command, environment, free_port
from sqlalchemy import Engine, insert

from functions.collect.tables import GivenAnswer
from functions.drift.reference import FEATURES, summarise


@dataclass
class Sent:
    """An event as it arrived."""

    attributes: dict[str, str]
    data: Any

    @property
    def key(self) -> tuple[str, str, str]:
        return self.attributes["source"], self.attributes["id"], self.attributes["type"]


@dataclass
class Sink:
    """K_SINK: notes every event it accepts, and answers `status`. `on_event` is called before it answers."""

    status: int = 202
    events: list[Sent] = field(default_factory=list)
    on_event: Callable[[Sent], None] = lambda _: None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def of(self, type: str) -> list[Sent]:
        """The different events of a type, in the order in which they first came."""
        latest = {sent.key: sent for sent in reversed(self.events) if sent.attributes["type"] == type}
        return list(reversed(latest.values()))


@contextlib.contextmanager
def sink() -> Iterator[Sink]:
    made = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = json.loads(self.rfile.read(int(self.headers["content-length"])))
            attributes = {k.lower()[3:]: unquote(v) for k, v in self.headers.items() if k.lower().startswith("ce-")}
            sent = Sent(attributes, data)
            if made.status < 300:
                made.events.append(sent)
            made.on_event(sent)
            with contextlib.suppress(OSError):
                self.send_response(made.status)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Killable:
    """A function process to kill and start again, at another port each time: the kernel takes a moment to free one."""

    name: str
    log: Path
    env: Mapping[str, str]
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> FunctionServer:
        return FunctionServer(f"http://127.0.0.1:{self.port}/", self.log)

    def start(self) -> FunctionServer:
        self.port = free_port()
        with self.log.open("ab") as out:
            env = environment(PORT=str(self.port), HOST="127.0.0.1", THREADS="4", **self.env)
            self.process = subprocess.Popen(
                command(self.name), cwd=ROOT, env=env, stdout=out, stderr=out, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                # A port of the ephemeral range with nobody behind it can be connected to itself.
                if probe.getsockname() != probe.getpeername():
                    return self.server
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9, of the server's workers as well, as the end of a container does it."""
        assert self.process is not None
        kill_all(self.process)
        self.process.wait()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def kill_all(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def killable(name: str, log: Path, env: Mapping[str, str]) -> Iterator[Killable]:
    made = Killable(name, log, env)
    try:
        yield made
    finally:
        if made.process is not None:
            made.kill()


def register(url: str, model: str, files: Mapping[str, str], **tags: str) -> str:
    """The number of a new version that holds these files."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(url)
    with contextlib.suppress(MlflowException):
        client.create_registered_model(model)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"config.json": "{}", **files}.items():
            (Path(folder) / name).write_text(content)
        logged = client.create_logged_model(experiment_id="0", name="tiny")
        client.log_model_artifacts(logged.model_id, folder)
        client.finalize_logged_model(logged.model_id, "READY")
    source = f"models:/{logged.model_id}"
    return str(client.create_model_version(model, source, model_id=logged.model_id, tags=tags).version)


def set_champion(url: str, model: str, version: str) -> None:
    from mlflow import MlflowClient

    MlflowClient(url).set_registered_model_alias(model, "champion", version)


def features(count: int, seed: int, shift: float = 0.0) -> dict[str, list[float]]:
    """Each feature's values of `count` answers; `shift` in standard deviations, of confidence only."""
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(shift if name == "confidence" else 0.0, 1.0, count) for name in FEATURES}
    return {**{name: v.tolist() for name, v in values.items()}, "prompt_tokens": _whole(values["prompt_tokens"])}


def _whole(values: Any) -> list[float]:
    return np.round(values * 20 + 100).tolist()


def reference(count: int = 1000, seed: int = 0) -> str:
    """A reference.json of answers without a shift."""
    return summarise(features(count, seed), list("ABCD" * (count // 4))).to_json()


def answer(
    database: Engine, version: str, count: int, begin: float, end: float, seed: int = 1, shift: float = 0.0
) -> None:
    """`count` answers of the version between two moments, as collect stores them."""
    columns = features(count, seed, shift)
    step = (end - begin) / count
    rows = [
        {
            "source": "/logger",
            "id": f"{version}-{begin}-{i}",
            "place": 0,
            "version": version,
            "answered_at": begin + i * step,
            "letter": "ABCD"[i % 4],
            **{name: values[i] for name, values in columns.items()},
        }
        for i in range(count)
    ]
    with database.begin() as connection:
        connection.execute(insert(GivenAnswer), rows)
