"""The images in containers, as a cluster runs them: as uid 65532, on a read-only root, with no capability.

Needs podman and MCQA_IMAGES_BASE, the name of a base image with Python 3.11. MCQA_IMAGES_WHEELS names a folder of
packages to build without a network; MCQA_IMAGES_BUILT=1 takes the images that are there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import yaml
from function_server import free_port
from images_text import ROOT

from local.platform import mlflow_server as settings

BASE = os.environ.get("MCQA_IMAGES_BASE", "")
NEEDED = [
    pytest.mark.skipif(not shutil.which("podman"), reason="needs podman"),
    pytest.mark.skipif(not BASE, reason="needs MCQA_IMAGES_BASE, the name of a base image with Python 3.11"),
    pytest.mark.timeout(3600),
    pytest.mark.usefixtures("processes"),
]
RESTRICTED = ("--read-only", "--tmpfs=/tmp:rw,mode=1777", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def name_of(image: str) -> str:
    return f"dev.local/coding-mcqa/{image}:test"


def run(image: str, *command: str, env: Mapping[str, str] | None = None, mounts: tuple[str, ...] = ()) -> str:
    """The output of a container's command; AssertionError with it when the command fails."""
    done = subprocess.run(_command(image, env or {}, mounts, "--rm") + list(command), capture_output=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-3000:]
    return done.stdout.decode()


def _command(image: str, env: Mapping[str, str], mounts: tuple[str, ...], *options: str) -> list[str]:
    given = [f"--env={key}={value}" for key, value in env.items()] + [f"--volume={mount}" for mount in mounts]
    return ["podman", "run", "--network=host", *options, *RESTRICTED, *given, name_of(image)]


@contextmanager
def container(
    image: str, *command: str, env: Mapping[str, str], ready: str, mounts: tuple[str, ...] = ()
) -> Iterator[str]:
    """A container in the background; its id, once GET `ready` is answered at all."""
    started = subprocess.run(
        _command(image, env, mounts, "--detach") + list(command), check=True, capture_output=True, text=True, timeout=60
    )
    made = started.stdout.strip()
    began = time.monotonic()
    try:
        while True:
            state = subprocess.run(
                ["podman", "inspect", "-f", "{{.State.Running}}", made], capture_output=True, text=True
            )
            assert state.stdout.strip() == "true", logs(made)
            assert time.monotonic() - began < 120, logs(made)
            try:
                if httpx2.get(ready, timeout=5).status_code < 500:
                    break
            except httpx2.TransportError:
                time.sleep(0.05)
        print(f"\n{image} {' '.join(command)[:60]}: answers after {time.monotonic() - began:.2f} s")
        yield made
    finally:
        subprocess.run(["podman", "rm", "--force", "--time=10", made], capture_output=True, timeout=60)


def inside(made: str, *command: str) -> str:
    """The output of a command in a running container; AssertionError with it when the command fails."""
    done = subprocess.run(["podman", "exec", made, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def logs(made: str) -> str:
    done = subprocess.run(["podman", "logs", made], capture_output=True, text=True, timeout=30)
    return (done.stdout + done.stderr)[-3000:]


@contextmanager
def mlflow(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of an MLflow server with the command of its Deployment; SQLite and the artifacts are in `folder`."""
    folder.chmod(0o777)
    port = free_port()
    pod = next(yaml.safe_load_all((ROOT / "deploy/mlflow/deployment.yaml").read_text()))["spec"]["template"]["spec"]
    args = [*pod["containers"][0]["command"], *pod["containers"][0]["args"]]
    args = [{"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}.get(item, item) for item in args]
    environment = {
        **settings.environment(settings.new_encryption_key(os.urandom(32))),
        "MLFLOW_ARTIFACTS_DESTINATION": "/mlflow/artifacts",
        "MLFLOW_BACKEND_STORE_URI": "sqlite:////mlflow/mlflow.db",
        **(env or {}),
    }
    url = f"http://127.0.0.1:{port}"
    with container("mlflow", *args, env=environment, ready=f"{url}/health", mounts=(f"{folder}:/mlflow",)):
        yield url


def register(url: str, model: str = "coding-mcqa", webhook: str = "http://127.0.0.1:9/", secret: str = "of us") -> None:
    """Version 1 of the model in an empty registry, by the pipelines image."""
    data = {"MLFLOW_TRACKING_URI": url, "MCQA_WEBHOOK_SECRET": secret, "MCQA_REGISTERED_MODEL": model}
    first = ("python", "-m", "pipelines.bootstrap", "--source=models/tiny", f"--webhook-url={webhook}")
    assert f"{model} version 1 is champion now" in run("pipelines", *first, env=data)
