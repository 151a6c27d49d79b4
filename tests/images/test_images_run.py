"""Every image as a cluster runs it (tests/images_run.py says what that needs): who it is, what it holds and answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from function_server import free_port
from images_run import NEEDED, container, logs, run
from images_text import IMAGES, ROOT
from loop_parts import sink
from servers import EXPLAIN, INFER, PREDICT, QUESTION
from tool import TOOL

pytestmark = NEEDED
FUNCTIONS = ("collect", "drift", "rollout", "retrain", "notify", "dead-letters")
REQUEST = "org.kubeflow.serving.inference.request"
PING = "dev.knative.sources.ping"


@pytest.mark.parametrize("image", [image.name for image in IMAGES])
def test_who_runs_and_what_may_be_written(built: None, image: str) -> None:
    assert run(image, "id", "-u").strip() == "65532"
    output = run(
        image, "sh", "-c", "touch /tmp/x && echo tmp; touch /app/x 2>/dev/null || echo not app; command -v pip gcc || :"
    )
    assert output.split("\n")[:2] == ["tmp", "not app"]
    assert not output.split("\n")[2]


@pytest.mark.parametrize("image", [image.name for image in IMAGES])
def test_the_scan_finds_nothing(built: None, image: str) -> None:
    env = {**os.environ, "TAG": "test", "ENGINE": "podman"}
    done = subprocess.run([*TOOL, "images-scan", image], cwd=ROOT, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_initializer_fetches_and_the_predictor_answers(registry: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    models.chmod(0o777)
    fetch = ("python", "-m", "predictor.storage", "mlflow://coding-mcqa/1", "/mnt/models")
    began = time.monotonic()
    run("predictor", *fetch, env={"MLFLOW_TRACKING_URI": registry}, mounts=(f"{models}:/mnt/models",))
    print(f"\npredictor.storage: {time.monotonic() - began:.2f} s in all")
    assert (models / "model.safetensors").stat().st_size > 1_000_000

    port = free_port()
    runtime = yaml.safe_load((ROOT / "kserve/serving-runtime.yaml").read_text())["spec"]["containers"][0]
    command = [item.replace("{{.Name}}", "coding-mcqa") for item in (*runtime["command"], *runtime["args"])]
    env = {"PORT": str(port), "MCQA_HOST": "127.0.0.1", "MCQA_GRPC_PORT": "0", "OMP_WAIT_POLICY": "passive"}
    url, mount = f"http://127.0.0.1:{port}", (f"{models}:/mnt/models:ro",)
    ready = f"{url}/v2/models/coding-mcqa/ready"
    with container("predictor", *command, env=env, ready=ready, mounts=mount) as made:
        answer = httpx2.post(url + PREDICT, json={"instances": [QUESTION]}, timeout=60).json()
        assert answer["predictions"][0]["choice"] in QUESTION["choices"]
        assert answer["model_version"] == "1"
        inputs = [
            {"name": "question", "shape": [1], "datatype": "BYTES", "data": [QUESTION["question"]]},
            {"name": "choices", "shape": [1, 4], "datatype": "BYTES", "data": QUESTION["choices"]},
        ]
        second = httpx2.post(url + INFER, json={"inputs": inputs}, timeout=60).json()
        letters = next(item for item in second["outputs"] if item["name"] == "letter")
        assert letters["data"] == [answer["predictions"][0]["letter"]]
        assert httpx2.post(url + EXPLAIN, json={"instances": [QUESTION]}, timeout=60).status_code == 200
        subprocess.run(["podman", "kill", "--signal=TERM", made], check=True, capture_output=True)
        ended = subprocess.run(["podman", "wait", made], check=True, capture_output=True, text=True, timeout=60)
        assert ended.stdout.strip() == "0", logs(made)


EVENTS: dict[str, tuple[dict[str, str], Any]] = {
    "collect": ({"type": REQUEST, "source": "http://localhost:9081/"}, {"instances": [QUESTION]}),
    "drift": ({"type": PING, "source": "/apis/v1/namespaces/coding-mcqa/pingsources/drift"}, {}),
    "rollout": ({"type": PING, "source": "/apis/v1/namespaces/coding-mcqa/pingsources/rollout"}, {}),
    "retrain": ({"type": PING, "source": "/apis/v1/namespaces/coding-mcqa/pingsources/retrain"}, {}),
    "notify": ({"type": "dev.cdeventsx.mcqa-drift.detected", "source": "/drift"}, {}),
    "dead-letters": (
        {
            "type": REQUEST,
            "source": "http://localhost:9081/",
            "knativeerrorcode": "500",
            "knativeerrordest": "http://c/",
        },
        {"instances": [QUESTION]},
    ),
}
# What this place has not: Kubernetes' API, a sent drift. The function is there and says so in a line.
ANSWERS = {"rollout": {503}, "notify": {204, 400}, "retrain": {204, 503}}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_function_answers_an_event(registry: str, tmp_path: Path, function: str) -> None:
    tmp_path.chmod(0o777)
    data = (f"{tmp_path}:/data",)
    service = next(
        d for d in yaml.safe_load_all((ROOT / f"knative/{function}.yaml").read_text()) if d["kind"] == "Service"
    )
    made = service["spec"]["template"]["spec"]["containers"][0]
    loop = yaml.safe_load((ROOT / "knative/config.yaml").read_text())["data"]
    with sink() as events:
        env = {
            **loop,
            "MCQA_DATABASE_URL": "sqlite:////data/loop.db",
            "MCQA_WEBHOOK_SECRET": "of the test",
            "K_SINK": events.url,
            "MLFLOW_TRACKING_URI": registry,
            "KFP_ENDPOINT": "http://127.0.0.1:9",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": "9",
        }
        run("functions", "python", "-m", "functions.migrate", env=env, mounts=data)
        account = tmp_path / "account"
        account.mkdir()
        for name in ("token", "namespace"):
            (account / name).write_text("coding-mcqa")
        shutil.copy(_certificates(), account / "ca.crt")
        port = free_port()
        mounts = (*data, f"{account}:/var/run/secrets/kubernetes.io/serviceaccount:ro")
        env |= {"PORT": str(port), "HOST": "127.0.0.1"}
        command = [*made["command"], *made["args"]]
        url = f"http://127.0.0.1:{port}/"
        with container("functions", *command, env=env, ready=url, mounts=mounts) as running:
            attributes, body = EVENTS[function]
            headers = {f"ce-{key}": value for key, value in attributes.items()}
            headers |= {"ce-id": "1", "ce-specversion": "1.0", "content-type": "application/json"}
            answer = httpx2.post(url, content=json.dumps(body), headers=headers, timeout=60)
            assert answer.status_code in ANSWERS.get(function, {204}), (
                f"{answer.status_code} {answer.text}{logs(running)}"
            )
            assert f'"function": "{function}"' in logs(running)


def _certificates() -> str:
    import certifi

    return certifi.where()
