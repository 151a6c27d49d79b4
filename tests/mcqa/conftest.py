from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mcqa import defaults, server_process


@dataclass(frozen=True)
class Server:
    url: str
    grpc: str


@pytest.fixture(scope="session")
def server(processes: None) -> Iterator[Server]:
    """The real server with the shipped tiny model, on free ports."""
    port, grpc_port = server_process.free_port(), server_process.free_port()
    with server_process.running(str(defaults.TINY_MODEL), port, grpc_port):
        yield Server(f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}")
