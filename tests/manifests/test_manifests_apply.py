"""`kubectl apply -k` of both folders to the embedded API, twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def kubectl(tmp_path: Path, processes: None) -> Iterator[Callable[..., str]]:
    """kubectl against a server of its own."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    command = [sys.executable, "-m", "local.kube", "--dir", str(tmp_path), "--port", "0", "--namespace", "coding-mcqa"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    deadline = time.monotonic() + 60
    while subprocess.run([program, "get", "--raw", "/readyz"], env=environment, capture_output=True).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield run
    server.terminate()
    assert server.wait(20) == 0


def test_apply_twice_and_delete(kubectl) -> None:
    for _ in range(2):
        applied = kubectl("apply", "-k", "knative") + kubectl("apply", "-k", "kserve")
    lines = applied.splitlines()
    assert len(lines) == 22
    assert all(line.endswith("unchanged") for line in lines), applied
    assert kubectl("get", "isvc", "-o", "name").strip() == "inferenceservice.serving.kserve.io/coding-mcqa"
    names = kubectl("get", "ksvc,triggers,brokers,pingsources", "-o", "name").split()
    assert len(names) == 6 + 5 + 1 + 5
    assert kubectl("get", "clusterstoragecontainers", "-o", "name").strip().endswith("/mlflow")
    assert kubectl("apply", "--server-side", "-k", "kserve").count("serverside-applied") == 3
    assert kubectl("diff", "-k", "kserve") == ""
    assert kubectl("delete", "-k", "kserve").count("deleted") == 3
    assert kubectl("delete", "-k", "knative").count("deleted") == 19
    assert kubectl("get", "namespaces", "-o", "name").split() == ["namespace/default", "namespace/kube-system"]
