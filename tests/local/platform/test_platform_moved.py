"""A loop whose folder was moved: it goes on at its new place, with what it knew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from local.platform.settings import Folder

ROOT = Path(__file__).resolve().parents[3]
FREE = [word for flag in ("", "api-", "broker-", "mlflow-", "pipelines-", "ui-") for word in (f"--{flag}port", "0")]
pytestmark = pytest.mark.timeout(900)


def mcqa(folder: Folder, *arguments: Any, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "mcqa", *arguments, "--dir", str(folder.path)],
        cwd=ROOT, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == code, (arguments, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout + done.stderr


def processes(place: Any) -> Any:
    """Ids of the live processes that have a folder in their command line."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{place}/" in path.read_text(errors="replace") or path.read_text().endswith(f"{place}\0"):
                pids.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in pids if pid != os.getpid()]


def feedback_rows(folder: Folder) -> Any:
    import sqlite3

    with sqlite3.connect(folder.database, timeout=10) as connection:
        return connection.execute("SELECT count(*) FROM feedback").fetchone()[0]


def say_what_was_right(folder: Folder, expected: Any) -> None:
    output = mcqa(folder, "ask", "--random", "--seed", "3")
    assert f"the loop in {folder.path}" in output
    name = output.split("feedback ")[1].split()[0]
    mcqa(folder, "feedback", name, "A")
    deadline = time.monotonic() + 120
    while feedback_rows(folder) != expected:
        assert time.monotonic() < deadline, "the feedback did not come"
        time.sleep(0.2)


@pytest.mark.usefixtures("processes")
def test_a_moved_loop_goes_on(tmp_path: Path) -> None:
    before, after = Folder(tmp_path / "before"), Folder(tmp_path / "after")
    try:
        mcqa(before, "up", *FREE)
        say_what_was_right(before, 1)
        mcqa(before, "down")
        before.path.rename(after.path)
        for verb in (["drift", "status"], ["rollout", "status"], ["pipeline", "list"], ["feedback", "id", "A"]):
            assert "mcqa up" in mcqa(after, *verb, code=1)
        mcqa(after, "up")
        status = json.loads(mcqa(after, "status", "--json"))
        assert (status["aliases"], status["problems"]) == ({"champion": "1"}, [])
        say_what_was_right(after, 2)
        for verb in (["drift", "status"], ["rollout", "status"], ["pipeline", "list"]):
            mcqa(after, *verb)
        mcqa(after, "down")
        assert not before.path.exists(), "something still writes where the folder was"
    finally:
        for folder in (before, after):
            if folder.path.exists():
                mcqa(folder, "down")


@pytest.mark.usefixtures("processes")
def test_a_loop_that_was_moved_while_it_runs_is_ended_by_down_and_comes_back(tmp_path: Path) -> None:
    before, after = Folder(tmp_path / "before"), Folder(tmp_path / "after")
    try:
        mcqa(before, "up", *FREE)
        before.path.rename(after.path)
        output = mcqa(after, "down")
        assert "is down" in output or "no loop was running" in output
        assert not processes(before.path)
        mcqa(after, "up")
        say_what_was_right(after, 1)
        mcqa(after, "down")
    finally:
        for folder in (before, after):
            if folder.path.exists():
                mcqa(folder, "down")
        for pid in processes(before.path):
            os.kill(pid, 9)
