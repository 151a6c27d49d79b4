"""A real API server process for tests, and the real clients pointed at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KUBECTL = shutil.which("kubectl")


@dataclass
class Platform:
    """`python -m local.kube` in a folder of its own."""

    folder: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        kubeconfig = self.kubeconfig
        kubeconfig.unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local.kube", "--dir", str(self.folder), "--port", "0"],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            try:
                if kubeconfig.exists() and httpx2.get(f"{self.url}/readyz", verify=False).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load(self.kubeconfig.read_text())

    @property
    def url(self) -> str:
        return self.config["clusters"][0]["cluster"]["server"]

    @property
    def client(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self.config['users'][0]['user']['token']}"}
        return httpx2.Client(base_url=self.url, headers=headers, verify=False, timeout=20)

    def kubectl(self, *arguments: str, body: Any = None, fails: bool = False) -> str:
        """kubectl's output; `body` goes to its stdin as JSON. AssertionError unless it ends as expected."""
        if KUBECTL is None:
            pytest.skip("kubectl is not installed")
        done = subprocess.run(
            [KUBECTL, *arguments],
            env={"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder), "PATH": os.environ["PATH"]},
            input=None if body is None else json.dumps(body),
            capture_output=True,
            text=True,
            timeout=60,
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        return output

    def background(self, *arguments: str) -> subprocess.Popen[str]:
        if KUBECTL is None:
            pytest.skip("kubectl is not installed")
        return subprocess.Popen(
            [KUBECTL, *arguments],
            env={"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder), "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="session")
def shared_platform(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("kube"))
    platform.start()
    yield platform
    assert platform.stop() == 0


@pytest.fixture
def platform(shared_platform: Platform) -> Iterator[Platform]:
    """The session's server, without what the test before made."""
    yield shared_platform
    with shared_platform.client as client:
        for path in (
            "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices",
            "/apis/serving.knative.dev/v1/namespaces/default/services",
            "/apis/eventing.knative.dev/v1/namespaces/default/triggers",
            "/apis/eventing.knative.dev/v1/namespaces/default/brokers",
            "/api/v1/namespaces/default/configmaps",
            "/api/v1/namespaces/default/secrets",
        ):
            assert client.delete(path).status_code == 200


@pytest.fixture
def own_platform(tmp_path: Path, processes: None) -> Iterator[Platform]:
    """A server that the test may kill."""
    platform = Platform(tmp_path)
    platform.start()
    yield platform
    if platform.process.poll() is None:
        platform.stop()


@pytest.fixture
def isvc() -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "coding-mcqa", "annotations": {"serving.kserve.io/deploymentMode": "Knative"}},
        "spec": {
            "predictor": {
                "minReplicas": 0,
                "model": {"modelFormat": {"name": "coding-mcqa"}, "storageUri": "mlflow://coding-mcqa/1"},
            }
        },
    }


READY_STATUS = {
    "url": "http://coding-mcqa.default.localhost",
    "conditions": [{"type": "Ready", "status": "True"}],
    "components": {
        "predictor": {
            "traffic": [
                {"latestRevision": True, "percent": 10, "revisionName": "coding-mcqa-predictor-00002"},
                {
                    "latestRevision": False,
                    "percent": 90,
                    "revisionName": "coding-mcqa-predictor-00001",
                    "tag": "prev",
                },
            ]
        }
    },
}


@pytest.fixture
def ready_status() -> dict[str, Any]:
    return READY_STATUS
