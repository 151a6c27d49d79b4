"""A real store, a real gateway and real processes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from serving_cases import Platform, settings

from local.kube.store import ResourceStore
from local.serving.controller import ServingController


@pytest.fixture
async def platform(tmp_path: Path, processes: None) -> AsyncIterator[Platform]:
    store = ResourceStore(tmp_path / "kube.sqlite")
    async with (
        ServingController(store, settings(tmp_path), lambda uri: Path(uri.removeprefix("file://"))) as serving,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield Platform(store, serving, session, tmp_path)
    store.close()
    left = list((tmp_path / "pods").glob("*")) if (tmp_path / "pods").exists() else []
    assert left == [], "workloads were left behind"
