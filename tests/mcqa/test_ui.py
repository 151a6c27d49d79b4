"""`mcqa ui`: the page of the loop here, or of the one that the environment names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from functions.database import engine
from functions.migrate import migrate
from local.platform.settings import Folder, Ports, Settings
from mcqa import ui
from mcqa.errors import CommandError, LoopNotRunningError

VARIABLES = ("MCQA_DATABASE_URL", "MCQA_URL", "K_SINK", "MCQA_LOCAL_DIR")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"BROWSER": "firefox"}, "linux", True),
        ({}, "darwin", True),
    ],
)
def test_a_browser_is_opened_where_there_is_a_screen(environ: dict[str, str], platform: str, expected: bool) -> None:
    assert ui._has_display(environ, platform) is expected


@pytest.mark.parametrize(
    ("part", "known"),
    [
        ({"name": "ui", "state": "starting"}, False),
        ({"name": "ui", "state": "ready"}, True),
        ({"name": "ui", "state": "failed", "message": "exited: x"}, True),
        ({"name": "broker", "state": "ready"}, False),
    ],
)
def test_one_waits_while_the_page_starts(part: dict[str, str], known: bool) -> None:
    assert ui._ready_or_failed({"parts": [part]}) == (part if known else None)
    assert ui._ready_or_failed({}) is None


def test_no_loop_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LoopNotRunningError, match="start it with `mcqa up"):
        ui.ui(browser=False, port=None, directory=tmp_path)


def test_a_loop_without_its_page_says_how_to_get_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.environment.touch()
    folder.save(Settings(Ports(internal=1), ui=False))
    lock = folder.lock()
    assert lock
    with lock, pytest.raises(CommandError, match=r"runs without its page: `.*mcqa up --restart --ui --dir"):
        ui.ui(browser=False, port=None, directory=tmp_path)


def test_the_port_of_a_loop_here_is_mcqa_ups(tmp_path: Path) -> None:
    Folder(tmp_path).environment.touch()
    with pytest.raises(CommandError, match="mcqa up --ui-port"):
        ui.ui(browser=False, port=8502, directory=tmp_path)


def test_half_an_environment_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_SINK", "http://127.0.0.1:9/")
    with pytest.raises(CommandError, match="MCQA_DATABASE_URL is not set"):
        ui.ui(browser=False, port=None, directory=None)


@pytest.mark.usefixtures("processes")
def test_the_page_of_a_loop_elsewhere_is_served_from_here(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/loop.db"
    database = engine(url)
    migrate(database)
    database.dispose()
    environment = {**os.environ, "MCQA_DATABASE_URL": url, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "mcqa", "ui", "--no-browser", "--port", "0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), (tmp_path / "log").read_text()
        assert httpx2.get(f"{address}/_stcore/health", timeout=10).text == "ok"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        with pytest.raises(httpx2.TransportError):
            httpx2.get(address, timeout=2)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        process.stdout.close()


@pytest.mark.usefixtures("processes")
def test_a_page_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "MCQA_DATABASE_URL": "sqlite:////x", "MCQA_UI_LOGIN": "maybe", "HOME": str(tmp_path)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "mcqa", "ui", "--no-browser", "--port", "0"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert time.monotonic() - began < 30
    assert "MCQA_UI_LOGIN must be one of none, oidc" in done.stderr
    assert done.stderr.strip().splitlines()[-1] == "error: the page did not start: it exited with code 2"
