"""kill -9 of the server and of runs: nothing that was accepted is lost, what has finished is not done again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import kfp_cases as cases
import pytest
import yaml
from kfp import compiler
from kfp_server import HEADERS, KfpServer

from local.pipelines import processes as run_processes

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("chain") / "chain.yaml"
    compiler.Compiler().compile(cases.chain, str(path))
    return yaml.safe_load(path.read_text())


@pytest.fixture
def killed(tmp_path: Path, processes: None) -> Iterator[KfpServer]:
    """A server to be killed."""
    server = KfpServer(tmp_path / "pipelines")
    server.start()
    yield server
    server.stop()
    left = [run.name for run in (server.folder / "runs").glob("*") if run_processes.find_all(mark(server, run.name))]
    assert left == [], "processes of runs were left behind"


def mark(server: KfpServer, run: str) -> str:
    return run_processes.mark(server.folder, run)


def submit(server: KfpServer, spec: dict[str, Any], marks: Path, seconds: float) -> str:
    config = {"parameters": {"marks": str(marks), "seconds": seconds}}
    body = {"display_name": "chain", "pipeline_spec": spec, "runtime_config": config}
    answer = httpx2.post(f"{server.url}/apis/v2beta1/runs", headers=HEADERS, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def get(server: KfpServer, run: str) -> dict[str, Any]:
    return dict(httpx2.get(f"{server.url}/apis/v2beta1/runs/{run}", headers=HEADERS).json())


def until(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finished(server: KfpServer, run: str) -> dict[str, Any]:
    until(lambda: get(server, run)["state"] in ("SUCCEEDED", "FAILED", "CANCELED"))
    return get(server, run)


def lines(marks: Path) -> list[str]:
    return marks.read_text().split("\n")[:-1] if marks.exists() else []


def run_process(server: KfpServer, run: str) -> int:
    """The process that executes a run, not its steps'."""
    for pid in run_processes.find_all(mark(server, run)):
        if b"local.pipelines.runner" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return 0


def kill(pid: int) -> None:
    if pid:
        os.kill(pid, signal.SIGKILL)


def test_a_run_outlives_its_server(killed: KfpServer, chain: dict[str, Any], marks: Path) -> None:
    run = submit(killed, chain, marks, 3.0)
    until(lambda: "nap" in lines(marks))
    killed.kill()
    killed.start()
    assert get(killed, run)["state"] == "RUNNING"
    done = finished(killed, run)
    assert (done["state"], lines(marks)) == ("SUCCEEDED", ["first", "nap", "last"])
    assert [item["state"] for item in done["state_history"]] == ["PENDING", "RUNNING", "SUCCEEDED"]


def test_a_result_that_the_server_did_not_see(killed: KfpServer, chain: dict[str, Any], marks: Path) -> None:
    run = submit(killed, chain, marks, 0.2)
    until(lambda: "nap" in lines(marks))
    killed.kill()
    until(lambda: not run_processes.find_all(mark(killed, run)))
    killed.start()
    assert get(killed, run)["state"] == "SUCCEEDED"
    assert lines(marks) == ["first", "nap", "last"]


@pytest.mark.parametrize("with_server", [False, True])
def test_a_vanished_run_goes_on_where_it_was(
    killed: KfpServer, chain: dict[str, Any], marks: Path, with_server: bool
) -> None:
    run = submit(killed, chain, marks, 0.5)
    until(lambda: "nap" in lines(marks))
    if with_server:
        killed.kill()
    kill(run_process(killed, run))  # its step lives on, and must be gone before the next attempt
    if with_server:
        killed.start()
    done = finished(killed, run)
    assert (done["state"], lines(marks)) == ("SUCCEEDED", ["first", "nap", "nap", "last"])
    history = [(item["state"], item.get("error", {}).get("message", "")) for item in done["state_history"]]
    assert [state for state, _ in history] == ["PENDING", "RUNNING", "PENDING", "RUNNING", "SUCCEEDED"]
    assert "start 1 of 3" in history[2][1]


def test_a_run_that_dies_again_and_again_fails(killed: KfpServer, chain: dict[str, Any], marks: Path) -> None:
    run = submit(killed, chain, marks, 30)
    for attempt in range(3):
        until(lambda seen=attempt + 1: lines(marks).count("nap") == seen)  # type: ignore[misc]
        kill(run_process(killed, run))
    done = finished(killed, run)
    assert (done["state"], lines(marks).count("first")) == ("FAILED", 1)
    assert "killed by signal 9" in done["error"]["message"]
    assert "start 3 of 3" in done["error"]["message"]


def test_termination(killed: KfpServer, chain: dict[str, Any], marks: Path) -> None:
    run = submit(killed, chain, marks, 60)
    waiting = submit(killed, chain, marks, 0)
    until(lambda: "nap" in lines(marks))
    assert get(killed, waiting)["state"] == "PENDING"
    for key in (waiting, run):
        assert httpx2.post(f"{killed.url}/apis/v2beta1/runs/{key}:terminate", headers=HEADERS).status_code == 200
        assert finished(killed, key)["state"] == "CANCELED"
    assert run_processes.find_all(mark(killed, run)) == []
    states = {task["display_name"]: task["state"] for task in get(killed, run)["run_details"]["task_details"]}
    assert states == {"note": "SUCCEEDED", "note-2": "CANCELED", "note-3": "SKIPPED"}
    second = httpx2.post(f"{killed.url}/apis/v2beta1/runs/{run}:terminate", headers=HEADERS)
    assert (second.status_code, second.json()["code"]) == (400, 9)
    assert lines(marks) == ["first", "nap"]


def test_a_running_run_that_is_deleted(killed: KfpServer, chain: dict[str, Any], marks: Path) -> None:
    run = submit(killed, chain, marks, 60)
    until(lambda: "nap" in lines(marks))
    assert httpx2.delete(f"{killed.url}/apis/v2beta1/runs/{run}", headers=HEADERS).status_code == 200
    assert httpx2.get(f"{killed.url}/apis/v2beta1/runs/{run}", headers=HEADERS).status_code == 404
    until(lambda: not run_processes.find_all(mark(killed, run)) and not (killed.folder / "runs" / run).exists())


def test_runs_go_one_at_a_time_in_order(killed: KfpServer, chain: dict[str, Any], tmp_path: Path) -> None:
    runs = [submit(killed, chain, tmp_path / f"marks-{index}", 0) for index in range(3)]
    done = [finished(killed, run) for run in runs]
    assert [run["state"] for run in done] == ["SUCCEEDED"] * 3
    began = [run["state_history"][1]["update_time"] for run in done]
    assert began == sorted(began)
    assert all(run["finished_at"] <= start for run, start in zip(done, began[1:], strict=False))


def test_a_stopped_server_continues_its_runs_when_it_starts(
    killed: KfpServer, chain: dict[str, Any], marks: Path
) -> None:
    run = submit(killed, chain, marks, 0.5)
    until(lambda: "nap" in lines(marks))
    os.kill(killed.pid, signal.SIGTERM)
    killed.wait()
    assert run_processes.find_all(mark(killed, run)) == []
    killed.start()
    done = finished(killed, run)
    assert (done["state"], lines(marks)) == ("SUCCEEDED", ["first", "nap", "nap", "last"])
    assert "stopped" in done["state_history"][2]["error"]["message"]


def test_a_second_server_on_the_same_folder_is_refused(killed: KfpServer) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "local.pipelines", "--folder", str(killed.folder), "--port", "0"]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert completed.returncode == 1
    assert "another server uses" in completed.stderr


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("seed", range(3))
def test_kills_at_random_moments(seed: int, tmp_path: Path, chain: dict[str, Any]) -> None:
    draw = random.Random(seed)
    server = KfpServer(tmp_path / "pipelines", None, "--parallel", "2", "--attempts", "20")
    server.start()
    try:
        runs = [submit(server, chain, tmp_path / f"marks-{index}", 0.15) for index in range(2)]
        kills = 0
        while kills < 8 and any(get(server, run)["state"] in ("PENDING", "RUNNING") for run in runs):
            time.sleep(draw.uniform(0, 1.2))
            whom = draw.choice(["server", "run", "both", "step"])
            if whom in ("server", "both"):
                server.kill()
            if whom in ("run", "both"):
                kill(run_process(server, draw.choice(runs)))
            if whom == "step" and (pids := run_processes.find_all(mark(server, draw.choice(runs)))):
                kill(draw.choice(pids))
            if whom in ("server", "both"):
                time.sleep(draw.uniform(0, 0.3))
                server.start()
            kills += 1
        for index, run in enumerate(runs):
            done, marks = finished(server, run), lines(tmp_path / f"marks-{index}")
            assert "twice at once" not in marks
            if done["state"] == "FAILED":  # a step was killed, which is a failure of the step
                assert "the step failed" in done["error"]["message"], done["error"]
                continue
            assert done["state"] == "SUCCEEDED", done
            order = {"first": 0, "nap": 1, "last": 2}
            assert [order[line] for line in marks] == sorted(order[line] for line in marks)
            assert set(marks) == set(order)
            assert [item["state"] for item in done["state_history"]].count("SUCCEEDED") == 1
    finally:
        server.stop()
    assert not any(run_processes.find_all(mark(server, run)) for run in runs)
