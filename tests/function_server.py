"""A function under the real functions-framework, as its Knative Service starts it, and a migrated database for it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import yaml

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class FunctionServer:
    url: str
    log: Path

    def post(self, body: bytes | Any, **attributes: str) -> httpx2.Response:
        """A binary-mode event; attributes are percent-encoded as the binding asks."""
        headers = {f"ce-{name}": quote(value, safe="!#$&'()*+,/:;=?@[]~") for name, value in attributes.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers |= {"ce-specversion": "1.0", "content-type": "application/json"}
        return httpx2.post(self.url, content=content, headers=headers, timeout=30)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def command(name: str) -> list[str]:
    """The command and arguments of the manifest."""
    service = next(d for d in yaml.safe_load_all((ROOT / f"knative/{name}.yaml").read_text()) if d["kind"] == "Service")
    container = service["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][0] == "python"
    return [sys.executable, *container["command"][1:], *container["args"]]


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MCQA_", "K_", "PORT", "HOST"))}
    return {**kept, **more}


@contextlib.contextmanager
def function(name: str, log: Path, env: Mapping[str, str]) -> Iterator[FunctionServer]:
    """The running function; AssertionError with its log when it does not come up within 60 s."""
    port = free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command(name),
            cwd=ROOT,
            env=environment(PORT=str(port), HOST="127.0.0.1", THREADS="4", **env),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield FunctionServer(f"http://127.0.0.1:{port}/", log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own; LookupError with the reason where there is none to start."""
    initdb = shutil.which("initdb") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if initdb is None:
        raise LookupError("PostgreSQL is not installed: there is no initdb")
    programs = Path(initdb).resolve().parent
    become: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mcqa-postgresql-") as folder:
        if os.geteuid() == 0:
            if shutil.which("runuser") is None:
                raise LookupError("PostgreSQL does not run as root, and there is no runuser to be somebody else")
            become = ["runuser", "-u", "nobody", "--"]
            shutil.chown(folder, "nobody")

        def run(program: str, *arguments: str) -> None:
            # Not captured: pg_ctl's child would hold the pipe open.
            with Path(os.devnull).open("wb") as nothing:
                whole = [*become, str(programs / program), "-D", f"{folder}/data", *arguments]
                subprocess.run(whole, check=True, stdout=nothing, stderr=nothing, cwd=folder, timeout=120)

        run("initdb", "-U", "mcqa", "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
        port = free_port()
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "-w", "-t", "60", "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql://mcqa@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
