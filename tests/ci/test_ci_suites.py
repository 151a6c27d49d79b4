"""The two suites: what a unit test may not do, and how a test or a fixture becomes part of the integration tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

MODULE = """
import asyncio, os, socket, subprocess, sys
import pytest
async def connect():
    try:
        await asyncio.open_connection("127.0.0.1", 1)
    except ConnectionRefusedError:
        pass
STARTS = {
    "process": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "shell": lambda: os.system("true"),
    "child": lambda: os.waitpid(os.fork() or os._exit(0), 0),
    "listener": lambda: socket.socket().bind(("127.0.0.1", 0)),
    "connection": lambda: socket.socket().connect_ex(("127.0.0.1", 1)),
    "stream": lambda: asyncio.run(asyncio.wait_for(connect(), 5)),
}
every = pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@every
def test_unit(start):
    start()
@every
def test_integration(start, processes):
    start()
@pytest.fixture
def server(processes):
    STARTS["listener"]()
def test_with_a_server(server):
    pass
@pytest.fixture(scope="session")
def shared(processes):
    STARTS["listener"]()
@pytest.fixture(scope="session")
def undeclared():
    STARTS["listener"]()
def test_with_a_shared_server(shared):
    pass
def test_an_undeclared_fixture_of_the_session(processes, undeclared):
    pass
def test_nothing():
    assert asyncio.run(asyncio.sleep(0, "done")) == "done"
"""
WAYS = ("process", "shell", "child", "listener", "connection", "stream")


def outcomes(folder: Path, *options: str) -> tuple[dict[str, str], str]:
    (folder / "conftest.py").write_text("from suites import *\n")
    (folder / "test_it.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-qrA", "-p", "no:cacheprovider", "-c", os.devnull, *options, folder],
        env={**os.environ, "PYTHONPATH": str(TESTS), "MCQA_TESTS_OBSERVE": ""},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR "))]
    return {line[1].partition("::")[2]: line[0] for line in lines}, done.stdout


@pytest.mark.usefixtures("processes")
def test_a_unit_test_starts_no_process_and_opens_no_socket(tmp_path: Path) -> None:
    result, output = outcomes(tmp_path)
    assert result == {
        **{f"test_unit[{way}]": "FAILED" for way in WAYS},
        **{f"test_integration[{way}]": "PASSED" for way in WAYS},
        "test_with_a_server": "PASSED",
        "test_with_a_shared_server": "PASSED",
        "test_an_undeclared_fixture_of_the_session": "ERROR",
        "test_nothing": "PASSED",
    }, output
    assert "ask for the fixture `processes`" in output


@pytest.mark.usefixtures("processes")
def test_each_suite_by_its_marker(tmp_path: Path) -> None:
    integration, output = outcomes(tmp_path, "-m", "integration")
    shared = {"test_with_a_shared_server", "test_an_undeclared_fixture_of_the_session"}
    assert integration.keys() == {*(f"test_integration[{way}]" for way in WAYS), "test_with_a_server", *shared}, output
    unit, output = outcomes(tmp_path, "-m", "not integration")
    assert unit.keys() == {*(f"test_unit[{way}]" for way in WAYS), "test_nothing"}, output
