"""The whole loop on a disk that is full for a while, or loses a folder: nothing ends, nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from disks import Disk, disk

from local.platform.settings import HOST, Folder

ROOT = Path(__file__).resolve().parents[3]
PORTS = ("--port", "--api-port", "--broker-port", "--mlflow-port", "--pipelines-port", "--ui-port")
FULL_SECONDS = 8.0
PARTS = {"supervisor", "API", "broker", "mlflow", "pipelines", "functions", "processes"}
GONE = (
    "serving/logs", "platform/logs", "serving/pods", "status.json", "models", "kube", "broker", "pipelines", "loop.db",
)  # fmt: skip
pytestmark = pytest.mark.timeout(900)


def mcqa(folder: Folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MCQA_LOCAL_DIR": str(folder.path), "COLUMNS": "200"}
    command = [sys.executable, "-m", "mcqa", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )  # fmt: skip


def until(true: Callable[[], Any]) -> Any:
    """Bounded by the test's own time only: how long healing takes is the machine's business."""
    while True:
        try:
            if value := true():
                return value
        except (httpx2.TransportError, sqlite3.OperationalError):
            pass
        time.sleep(0.2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Disk]:
    with disk(tmp_path_factory.mktemp("platform") / "loop", "900m") as made:
        yield made


@pytest.fixture(scope="module")
def folder(place: Disk, processes: None) -> Iterator[Folder]:
    folder = Folder(place.path)
    ticks = [option for name in ("drift", "rollout", "retrain") for option in ("--schedule", f"{name}=@every 2s")]
    output = mcqa(folder, "up", *(part for flag in PORTS for part in (flag, "0")), *ticks)
    assert output.returncode == 0, output.stderr
    yield folder
    place.empty()
    mcqa(folder, "down")


def status(folder: Folder) -> dict[str, Any]:
    actual: dict[str, Any] = json.loads(mcqa(folder, "status", "--json").stdout)
    return actual


def ask(folder: Folder, name: str) -> int:
    body = {"instances": [{"question": "What is 2 + 3?", "choices": ["4", "5", "6"]}]}
    url = f"http://{HOST}:{folder.settings().ports.gateway}/v1/models/coding-mcqa:predict"
    return httpx2.post(url, json=body, headers={"ce-id": name}, timeout=60).status_code


def say(folder: Folder, name: str) -> bool:
    """Feedback to the broker; whether it was acknowledged."""
    headers = {
        "ce-specversion": "1.0", "ce-id": f"{name}-feedback", "ce-source": "/test",
        "ce-type": "dev.cdeventsx.mcqa-answer.feedback",
    }  # fmt: skip
    url = f"http://{HOST}:{folder.settings().ports.broker}/coding-mcqa/default"
    answer = httpx2.post(url, json={"answer_id": name, "answer": 1}, headers=headers, timeout=30)
    assert answer.status_code in (202, 503)
    assert answer.status_code == 202 or "retry-after" in answer.headers
    return answer.status_code == 202


def ids(folder: Folder, query: str) -> set[str]:
    with sqlite3.connect(folder.database, timeout=10) as connection:
        return {row[0] for row in connection.execute(query)}


def well(folder: Folder) -> bool:
    return not status(folder)["problems"]


@pytest.mark.usefixtures("processes")
def test_starting_on_a_full_or_a_read_only_disk_is_one_line(tmp_path: Path) -> None:
    start = ("up", *(part for flag in PORTS for part in (flag, "0")))
    with disk(tmp_path / "small", "64k") as small:
        folder = Folder(small.path / "loop")
        with small.full():
            refused = mcqa(folder, *start)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert f"cannot write in {folder.path}: no space" in refused.stderr
        folder.make()
        (small.path / "most").write_bytes(bytes(14 * 4096))  # the settings find room, a log does not
        refused = mcqa(folder, *start)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert f"cannot write in {folder.path}: no space" in refused.stderr
        subprocess.run(["mount", "-o", "remount,ro", str(small.path)], check=True)
        refused = mcqa(folder, *start)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "the file system is read-only" in refused.stderr


def test_a_disk_that_is_full_for_some_seconds(folder: Folder, place: Disk) -> None:
    until(lambda: well(folder))
    before = status(folder)
    answered, acknowledged = list[str](), list[str]()
    shown: dict[str, Any] = {}
    troubles: dict[str, Any] = {}
    with place.full():
        end = time.monotonic() + FULL_SECONDS
        while time.monotonic() < end or not troubles.keys() >= PARTS:  # each is tried once a second
            name = str(uuid.uuid4())
            assert ask(folder, name) == 200  # who asks has nothing to do with the disk
            answered.append(name)
            if say(folder, name):
                acknowledged.append(name)
            if not troubles.keys() >= PARTS:
                shown = status(folder)
                troubles = {trouble["part"]: trouble for trouble in shown["storage"]}
            time.sleep(0.1)
    assert all(trouble["code"] == "full" and trouble["since"] <= time.time() for trouble in troubles.values())
    lines = [line for line in shown["problems"] if "cannot write" in line]
    assert any(line.startswith("broker: cannot write") and str(folder.path) in line for line in lines)

    late = str(uuid.uuid4())
    until(lambda: ask(folder, late) == 200 and say(folder, late))
    until(lambda: {*acknowledged, late} <= ids(folder, "SELECT answer_id FROM feedback"))
    until(lambda: {*answered, late} <= ids(folder, "SELECT id FROM answers"))
    until(lambda: well(folder))
    after = status(folder)
    assert after["pid"] == before["pid"]
    assert [process["pid"] for process in after["parts"]] == [process["pid"] for process in before["parts"]]
    assert not ids(folder, "SELECT id FROM dead_letters")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "gone",
    [
        "serving/logs",
        "platform/logs",
        "serving/pods",
        "status.json",
        "models",
        "kube",
        "broker",
        "pipelines",
        "loop.db",
    ],
)
def test_a_folder_that_somebody_removes(folder: Folder, gone: str) -> None:
    before, path = status(folder)["pid"], folder.path / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    lines: set[str] = set()

    def heard() -> set[str]:
        name = str(uuid.uuid4())
        if ask(folder, name) == 200 and say(folder, name):
            lines.add(name)
        return lines & ids(folder, "SELECT answer_id FROM feedback")

    until(heard)
    if gone != "loop.db":  # into the file that is gone functions write until they are started anew
        until(lambda: lines <= ids(folder, "SELECT answer_id FROM feedback"))
    until(lambda: well(folder))
    assert status(folder)["pid"] == before
