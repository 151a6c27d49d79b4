"""The overlays as kubectl renders them, and an embedded Kubernetes API for the tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.manifests.render import OVERLAYS, Target, render
from tools.project import DEPLOY

ROOT = Path(__file__).resolve().parents[2]
Document = dict[str, Any]


@pytest.fixture(scope="session")
def overlays(processes: None) -> dict[str, list[Document]]:
    """The documents of each overlay."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return {name: render(Target(name, DEPLOY / name)) for name in OVERLAYS}


@pytest.fixture(scope="session")
def minikube(overlays: dict[str, list[Document]]) -> list[Document]:
    return overlays["minikube"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[dict[str, str]]:
    """The environment in which kubectl talks to an embedded API server: a cluster that lacks most things."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    folder = tmp_path_factory.mktemp("kube")
    command = [sys.executable, "-m", "local.kube", "--dir", str(folder), "--port", "0", "--namespace", "coding-mcqa"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    environment = {"KUBECONFIG": str(folder / "kubeconfig"), "HOME": str(folder), "PATH": os.environ["PATH"]}
    try:
        deadline = time.monotonic() + 60
        while subprocess.run([program, "get", "--raw", "/readyz"], env=environment, capture_output=True).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield environment
    finally:
        server.terminate()
        assert server.wait(20) == 0
