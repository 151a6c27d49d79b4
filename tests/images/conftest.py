"""The images, built once, and a registry in a container."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from images_run import BASE, mlflow, register
from tool import ROOT, TOOL


@pytest.fixture(scope="session")
def built(processes: None) -> None:
    if os.environ.get("MCQA_IMAGES_BUILT") != "1":
        env = {**os.environ, "ENGINE": "podman", "BASE": BASE, "TAG": "test"}
        env |= {"WHEELS": wheels} if (wheels := os.environ.get("MCQA_IMAGES_WHEELS")) else {}
        subprocess.run([*TOOL, "images"], check=True, cwd=ROOT, env=env, timeout=3500)


@pytest.fixture(scope="session")
def registry(built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MLflow image with version 1, registered by the pipelines image."""
    with mlflow(tmp_path_factory.mktemp("mlflow")) as url:
        register(url)
        yield url
