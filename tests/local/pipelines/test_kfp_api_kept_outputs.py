"""What succeeded is kept: after kill -9 of a run's process, and after :retry, with every kind of output there is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import kfp_cases as cases
import pytest
import yaml
from kfp import compiler
from kfp_server import HEADERS, KfpServer

from local.pipelines import processes
from local.pipelines.html_rendering import busy_seconds

pytestmark = pytest.mark.usefixtures("processes")

MADE = Counter(
    {"made x": 1, "made values": 1, "made data a": 1, "made data b": 1, "made data c": 1, "made data 1": 1,
     "made data 2": 1, "made data guarded": 1}
)  # fmt: skip
TOLD = [
    "x", "x", "x", "x", "x", {"accuracy": 0.75}, ["confusionMatrix"], ["evaluationSlices"], {"only": "x"},
    "s3://bucket/x", "/nowhere/at/all", {"rows": 3}, "", 0, 3.0, False, [], {"a": {"b": [1, 1.5, "ä"]}},
]  # fmt: skip


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("everything") / "everything.yaml"
    compiler.Compiler().compile(cases.everything, str(path))
    return dict(yaml.safe_load(path.read_text()))


def submit(server: KfpServer, spec: dict[str, Any], marks: Path, wait_for: str) -> str:
    config = {"parameters": {"marks": str(marks), "wait_for": wait_for}}
    body = {"display_name": "everything", "pipeline_spec": spec, "runtime_config": config}
    answer = httpx2.post(f"{server.url}/apis/v2beta1/runs", headers=HEADERS, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def run_of(server: KfpServer, key: str) -> dict[str, Any]:
    return dict(httpx2.get(f"{server.url}/apis/v2beta1/runs/{key}", headers=HEADERS, timeout=30).json())


def finished(server: KfpServer, key: str) -> dict[str, Any]:
    while (run := run_of(server, key))["state"] not in ("SUCCEEDED", "FAILED", "CANCELED"):
        time.sleep(0.1)
    return run


def lines(marks: Path) -> list[str]:
    return marks.read_text().splitlines() if marks.exists() else []


def made(marks: Path) -> Counter[str]:
    return Counter(line for line in lines(marks) if line.startswith("made"))


def used(marks: Path) -> list[Any]:
    (summary,) = [json.loads(line) for line in lines(marks) if line.startswith("[")]
    return list(summary)


def test_after_a_kill_nothing_that_had_finished_runs_again(
    server: KfpServer, everything: dict[str, Any], marks: Path
) -> None:
    key = submit(server, everything, marks, "kill")
    while "use" not in lines(marks):
        assert run_of(server, key)["state"] in ("PENDING", "RUNNING"), run_of(server, key)["error"]
        time.sleep(0.05)
    mark = processes.mark(server.folder, key)
    for pid in processes.find_all(mark):
        if b"local.pipelines.runner" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    done = finished(server, key)
    assert done["state"] == "SUCCEEDED", done["error"]
    assert made(marks) == MADE
    assert used(marks) == TOLD
    assert {"a+b+c", "1 2"} <= set(lines(marks))


def test_a_retry_runs_only_what_failed_and_times_stay_the_steps_own(
    server: KfpServer, everything: dict[str, Any], marks: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    key = submit(server, everything, marks, str(go))
    failed = finished(server, key)
    assert failed["state"] == "FAILED"
    assert lines(marks)[-1] == "goodbye FAILED"
    time.sleep(2.0)
    go.touch()
    assert httpx2.post(f"{server.url}/apis/v2beta1/runs/{key}:retry", headers=HEADERS).status_code == 200
    done = finished(server, key)
    assert done["state"] == "SUCCEEDED", done["error"]
    assert made(marks) == MADE
    assert used(marks) == TOLD
    assert lines(marks)[-1] == "goodbye SUCCEEDED"  # how the others ended is news

    before, after = times(failed), times(done)
    second = [path for path in after if path.count("/") == 0 or "/use-" in path]  # the handler, and what uses it all
    kept = sorted(set(after) - set(second))
    assert len(kept) > 12
    for path in kept:
        assert after[path] == before[path], path
    for path, (began, ended) in after.items():
        inside = [span for name, span in after.items() if name.startswith(path + "/")]
        if inside:
            assert (began, ended) == (min(a for a, _ in inside), max(b for _, b in inside)), path


def test_a_file_that_is_gone_is_made_again(
    server: KfpServer, everything: dict[str, Any], marks: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    key = submit(server, everything, marks, str(go))
    assert finished(server, key)["state"] == "FAILED"
    artifacts = httpx2.get(f"{server.url}/apis/v2beta1/runs/{key}/artifacts", headers=HEADERS).json()["artifacts"]
    (model,) = [artifact for artifact in artifacts if artifact["name"] == "model"]
    shutil.rmtree(server.folder / "runs" / key / model["path"])
    go.touch()
    httpx2.post(f"{server.url}/apis/v2beta1/runs/{key}:retry", headers=HEADERS)
    assert finished(server, key)["state"] == "SUCCEEDED"
    assert made(marks) == MADE + Counter({"made x": 1})


def times(run: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """(begin, end) of every task that ran, by path."""
    tasks = {task["task_id"]: task for task in run["run_details"]["task_details"]}

    def path(task: dict[str, Any]) -> str:
        parent = tasks.get(task.get("parent_task_id", ""))
        return f"{path(parent)}/{task['display_name']}" if parent else str(task["display_name"])

    return {path(task): (task["start_time"], task["end_time"]) for task in tasks.values() if task.get("end_time")}


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([], 0),
        ([("00:00:00", "00:00:05")], 5),
        ([("00:00:00", "00:00:05"), ("00:00:02", "00:00:03")], 5),
        ([("00:00:02", "00:00:07"), ("00:00:00", "00:00:05")], 7),
        ([("00:00:00", "00:00:05"), ("01:00:00", "01:00:01")], 6),
        ([("00:00:05", "00:00:00")], 0),
        ([("", ""), ("00:00:00", "")], 0),
    ],
)
def test_a_group_is_busy_while_one_of_its_steps_is(spans: list[tuple[str, str]], seconds: float) -> None:
    day = datetime(2026, 1, 1).date().isoformat()
    assert busy_seconds([tuple(f"{day}T{time}+00:00" if time else "" for time in span) for span in spans]) == seconds  # type: ignore[misc]
