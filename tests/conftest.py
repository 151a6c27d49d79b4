"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mlflow_server import mlflow_server
from suites import (  # noqa: F401
    processes,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_protocol,
    pytest_runtest_teardown,
)
from versions import make_version

# No test speaks to a loop or a server that the developer has running, by whatever their shell names.
for name in ("MCQA_URL", "MCQA_GRPC_TARGET", "MCQA_DATABASE_URL", "K_SINK", "KFP_ENDPOINT", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)
os.environ["MCQA_LOCAL_DIR"] = str(Path(tempfile.gettempdir()) / f"mcqa-tests-no-loop-{os.getpid()}")

# The same examples on every machine and in every run.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.load_profile("suite")

# A shell that runs the tests in the background has them ignore Ctrl-C, and the processes they start inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2 with random float32 weights."""
    return make_version(tmp_path_factory.mktemp("version") / "random-qwen2")


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:  # noqa: F811
    """One MLflow server for all tests of the session; each uses a registered model of its own name."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url
