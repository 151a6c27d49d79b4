"""The broker as a process of its own, on one port and database for a test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

from local.tokens import read_token

ROOT = Path(__file__).resolve().parents[1]


class Process:
    """The broker's process, always on the same port and database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self, client: httpx2.AsyncClient) -> None:
        """Up and ready; the client brings its token, which is a new one where the folder was removed."""
        command = [sys.executable, "-m", "local.broker", "--database", str(self.folder / "broker.db")]
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
        async with asyncio.timeout(60):
            while True:
                assert self.process.poll() is None, (self.folder / "broker.log").read_text()
                with contextlib.suppress(httpx2.TransportError):
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        client.headers["Authorization"] = f"Bearer {read_token(self.folder / 'token')}"
                        return
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextlib.asynccontextmanager
async def process(folder: Path) -> AsyncIterator[tuple[Process, httpx2.AsyncClient]]:
    broker = Process(folder)
    async with httpx2.AsyncClient(timeout=30) as client:
        await broker.start(client)
        try:
            yield broker, client
        finally:
            broker.kill()


async def apply(broker: Process, client: httpx2.AsyncClient, kind: str, name: str, spec: dict[str, Any]) -> None:
    item = {"kind": kind, "metadata": {"name": name}, "spec": spec}
    response = await client.put(f"{broker.url}/-/objects", json=item)
    assert response.status_code == 204, response.text


async def settled(broker: Process, client: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    """The Triggers' figures once no queue holds anything."""
    async with asyncio.timeout(60):
        while True:
            figures = (await client.get(f"{broker.url}/-/figures")).json()["triggers"]
            if all(figure["depth"] == 0 and figure["dead_lettering"] == 0 for figure in figures):
                return {figure["trigger"]: figure for figure in figures}
            await asyncio.sleep(0.1)
