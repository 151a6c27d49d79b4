"""The pipeline as Kubeflow gets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).parents[2]
CONTRACT = {"run_key", "model_name", "champion", "since", "until", "reason", "traceparent", "drift_event"}


def test_it_compiles_to_the_same_bytes_each_time_and_keeps_its_contract(tmp_path: Path) -> None:
    compiled = []
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.yaml"
        command = [sys.executable, "-m", "pipelines.retraining", "compile", str(out)]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=60, capture_output=True)
        compiled.append(out.read_bytes())
    assert compiled[0] == compiled[1]
    ir, _ = yaml.safe_load_all(compiled[0])
    assert ir["pipelineInfo"]["name"] == "coding-mcqa-retraining"
    parameters = ir["root"]["inputDefinitions"]["parameters"]
    assert parameters.keys() >= CONTRACT
    assert all("defaultValue" in parameter for parameter in parameters.values())
    containers = [e["container"] for e in ir["deploymentSpec"]["executors"].values()]
    assert {c["image"] for c in containers} == {"dev.local/coding-mcqa/pipelines:0.2.0"}
    assert not any("pip install" in " ".join(map(str, c["command"])) for c in containers)
    tasks = [
        task
        for dag in (ir["root"]["dag"], *(c["dag"] for c in ir["components"].values() if "dag" in c))
        for task in dag["tasks"].values()
        if ir["components"][task["componentRef"]["name"]].get("executorLabel")
    ]
    assert len(tasks) == 7
    assert not any(task["cachingOptions"] for task in tasks)
    assert all(task["retryPolicy"]["maxRetryCount"] >= 1 for task in tasks)
