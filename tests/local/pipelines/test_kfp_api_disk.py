"""A disk that is full for a while under the pipelines' server: nothing is lost, no run fails, all goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import kfp_cases as cases
import pytest
import yaml
from disks import Disk, disk, locked
from kfp import compiler
from kfp_server import HEADERS, KfpServer

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("chain") / "chain.yaml"
    compiler.Compiler().compile(cases.chain, str(path))
    return dict(yaml.safe_load(path.read_text()))


@pytest.fixture
def place(tmp_path: Path, processes: None) -> Iterator[Disk]:
    with disk(tmp_path / "disk", "24m") as made:
        yield made


@pytest.fixture
def onto(place: Disk, processes: None) -> Iterator[KfpServer]:
    """A server with all its files on the disk that is filled, its log but for that."""
    server = KfpServer(place.path / "pipelines")
    server.log = place.path.parent / "server.log"
    server.start()
    yield server
    place.empty()
    server.stop()


def submit(server: KfpServer, spec: dict[str, Any], marks: Path, seconds: float) -> httpx2.Response:
    config = {"parameters": {"marks": str(marks), "seconds": seconds}}
    body = {"display_name": "chain", "pipeline_spec": spec, "runtime_config": config}
    return httpx2.post(f"{server.url}/apis/v2beta1/runs", headers=HEADERS, json=body, timeout=60)


def get(server: KfpServer, path: str) -> dict[str, Any]:
    return dict(httpx2.get(f"{server.url}/apis/v2beta1/{path}", headers=HEADERS, timeout=60).json())


def finished(server: KfpServer, key: str) -> dict[str, Any]:
    while (run := get(server, f"runs/{key}"))["state"] not in ("SUCCEEDED", "FAILED", "CANCELED"):
        time.sleep(0.1)
    return run


def lines(marks: Path) -> list[str]:
    return marks.read_text().split("\n")[:-1] if marks.exists() else []


def test_a_run_whose_disk_is_full_while_a_step_ends_goes_on(
    onto: KfpServer, place: Disk, chain: dict[str, Any], marks: Path
) -> None:
    key = submit(onto, chain, marks, 1.0).json()["run_id"]
    while "nap" not in lines(marks):
        time.sleep(0.05)
    with place.full():
        time.sleep(6.0)
        run = get(onto, f"runs/{key}")
        assert run["state"] == "RUNNING"
    done = finished(onto, key)
    assert done["state"] == "SUCCEEDED", done["error"]
    assert [item["state"] for item in done["state_history"]] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert [line for line in lines(marks) if line != "nap"] == ["first", "last"]
    assert "twice at once" not in lines(marks)
    for task in done["run_details"]["task_details"]:
        assert "FAILED" not in [item["state"] for item in task["state_history"]]


def test_refused_while_it_is_full_and_taken_afterwards(
    onto: KfpServer, place: Disk, chain: dict[str, Any], marks: Path
) -> None:
    accepted = []
    with place.full():
        for _ in range(100):
            if (answer := submit(onto, chain, marks, 0)).status_code != 200:
                break
            accepted.append(answer.json()["run_id"])
        assert (answer.status_code, answer.json()["code"]) == (503, 14)
        assert int(answer.headers["retry-after"]) >= 1
        (trouble,) = get(onto, "healthz")["storage"]
        assert (trouble["part"], trouble["code"], trouble["path"]) == (
            "pipelines",
            "full",
            str(onto.folder / "pipelines.sqlite"),
        )
        time.sleep(2.0)  # what was accepted is not started in vain
    while get(onto, "healthz")["storage"]:
        time.sleep(0.1)
    accepted.append(submit(onto, chain, marks, 0).json()["run_id"])
    assert [finished(onto, key)["state"] for key in accepted] == ["SUCCEEDED"] * len(accepted)


def test_a_database_that_is_locked_for_long(onto: KfpServer, chain: dict[str, Any], marks: Path) -> None:
    key = submit(onto, chain, marks, 0.5).json()["run_id"]
    while "nap" not in lines(marks):
        time.sleep(0.05)
    with locked(onto.folder / "pipelines.sqlite"):
        time.sleep(3.0)
    assert finished(onto, key)["state"] == "SUCCEEDED"
    assert lines(marks) == ["first", "nap", "last"]
