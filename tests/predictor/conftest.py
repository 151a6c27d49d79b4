from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.model_card import ModelCard
from predictor.model_card import write_card
from tests.servers import RunningServer, running
from tests.versions import make_version

CARD = ModelCard("model of random weights", ("dice",), ("What do the dice show?",))


@pytest.fixture(scope="session")
def random_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2 with random weights: answers quickly, and differently to every question."""
    folder = make_version(tmp_path_factory.mktemp("versions") / "random-1")
    write_card(CARD, folder)
    return folder


@pytest.fixture(scope="session")
def slow_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One large enough that a long question keeps a few cores busy for a noticeable time in float32."""
    folder = tmp_path_factory.mktemp("versions") / "slow-1"
    return make_version(folder, layers=4, hidden=512, heads=8, max_positions=16384)


@pytest.fixture(scope="session")
def server(random_version: Path, processes: None) -> Iterator[RunningServer]:
    """One server for all tests that leave it as they found it."""
    with running(random_version, "--revision", "coding-mcqa-00001") as server:
        yield server
