"""A gateway in this process, a controller's connection to it, and a raw upstream."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gateway_cases import Rig, rig


@pytest.fixture
async def gateway(tmp_path: Path, processes: None) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made
