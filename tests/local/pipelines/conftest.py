"""One server for the tests that do not kill it, and the real client of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from kfp_server import KfpServer, kfp_server, make_client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[KfpServer]:
    with kfp_server(tmp_path_factory.mktemp("pipelines"), {"GREETING": "hello"}, "--parallel", "2") as running:
        yield running


@pytest.fixture(scope="session")
def kfp_client(server: KfpServer) -> Any:
    return make_client(server.url)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Where the steps of a test say that they ran."""
    return tmp_path / "marks"
