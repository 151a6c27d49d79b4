"""The platform's servers as processes of their own, and requests whose every header is the test's."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMED = "box.example"
"""The name that MCQA_ALLOWED_HOSTS has."""

Headers = list[tuple[str, str]]


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Served:
    """A running server, and what a test reads and writes there: a path; a method, a path, headers, a body."""

    name: str
    url: str
    token: str = ""
    read: str = "/"
    write: tuple[str, str, Headers, bytes] = ("POST", "/", [], b"")
    tls: bool = False
    log: Path | None = None
    own: Headers = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def bearer(self) -> Headers:
        return [("Authorization", f"Bearer {self.token}")] if self.token else []

    def ask(self, method: str, path: str, headers: Headers, body: bytes = b"") -> Answer:
        """Exactly these headers: Host too comes from the test."""
        context = ssl._create_unverified_context() if self.tls else None
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
            if self.tls
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        )
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body or method in ("POST", "PUT"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())


@contextlib.contextmanager
def process(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        environ = {**os.environ, "MCQA_ALLOWED_HOSTS": NAMED}
        running = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, env=environ, stdout=out, stderr=out)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(30)


def until_it_listens(port: int, running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            if probe.getsockname() != probe.getpeername():
                return
        time.sleep(0.05)


EVENT: Headers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/test"), ("ce-type", "test")]
