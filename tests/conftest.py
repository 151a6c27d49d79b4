"""Fixtures that every test folder shares."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from versions import make_version


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2 with random float32 weights."""
    return make_version(tmp_path_factory.mktemp("version") / "random-qwen2")
