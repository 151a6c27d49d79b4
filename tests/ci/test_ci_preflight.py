"""What is checked before anything is installed: every problem in one message, with a line to type."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from local.platform import listeners
from local.platform.settings import Folder

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location("preflight", ROOT / "scripts" / "preflight.py")
preflight: Any = importlib.util.module_from_spec(specification)  # type: ignore[arg-type]
sys.modules["preflight"] = preflight
specification.loader.exec_module(preflight)  # type: ignore[union-attr]


@pytest.fixture
def busy_port(processes: None) -> Any:
    with socket.socket() as item:
        item.bind(("127.0.0.1", 0))
        item.listen()
        yield item.getsockname()[1]


@pytest.mark.usefixtures("processes")
def test_all_busy_ports_are_told_at_once_with_a_line_to_type(tmp_path: Path, busy_port: int) -> None:
    with socket.socket() as second:
        second.bind(("127.0.0.1", 0))
        second.listen()
        other = second.getsockname()[1]
        rest = ["--api-port", "0", "--mlflow-port", "0", "--pipelines-port", "0", "--ui-port", "0"]
        arguments = ["--dir", str(tmp_path / "loop"), "--port", str(busy_port), "--broker-port", str(other), *rest]
        problems, flags = preflight.check_loop(arguments)
        assert problems[0].text.startswith(f"--port {busy_port} is in use")
        assert problems[1].text.startswith(f"--broker-port {other} is in use")
        if listeners.is_supported():
            assert f"(process {os.getpid()})" in problems[0].text
        message = preflight.explain(problems, arguments, flags, "make run")
        (line,) = re.findall(r'Other ports:  make run ARGS="(.*)"', message)
        assert f"--port {busy_port} " not in line
        assert preflight.check_loop(shlex.split(line)) == ([], "")
        (line,) = re.findall(r'or any:       make run ARGS="(.*)"', message)
        assert preflight.check_loop(shlex.split(line)) == ([], "")


@pytest.mark.usefixtures("processes")
def test_the_pages_port_counts_where_the_page_runs(tmp_path: Path, busy_port: int) -> None:
    others = [word for flag in ("", "api-", "broker-", "mlflow-", "pipelines-") for word in (f"--{flag}port", "0")]
    arguments = ["--dir", str(tmp_path / "loop"), *others, "--ui-port", str(busy_port)]
    (problem,), flags = preflight.check_loop(arguments)
    assert problem.text.startswith(f"--ui-port {busy_port} is in use")
    assert flags.startswith("--ui-port ")
    assert preflight.check_loop([*arguments, "--no-ui"]) == ([], "")


@pytest.mark.parametrize(
    ("arguments", "names", "kept"),
    [
        (["--port", "1", "--dir", "x"], ["--port"], ["--dir", "x"]),
        (["--port=1", "--dir", "x"], ["--port"], ["--dir", "x"]),
        (["--dir", "--port"], [], ["--dir", "--port"]),
        ([], ["--port"], []),
    ],
)
def test_what_is_offered_leaves_the_other_arguments(arguments: list[str], names: list[str], kept: list[str]) -> None:
    assert preflight._without(arguments, names) == kept


@pytest.mark.usefixtures("processes")
def test_the_ports_of_a_loop_that_is_up_are_its_own(tmp_path: Path, busy_port: int) -> None:
    folder = Folder(tmp_path)
    arguments = ["--dir", str(tmp_path), "--port", str(busy_port)]
    others = [word for flag in ("api", "broker", "mlflow", "pipelines", "ui") for word in (f"--{flag}-port", "0")]
    assert preflight.check_loop([*arguments, *others])[0]
    lock = folder.lock()
    assert lock
    assert preflight.check_loop([*arguments, *others]) == ([], "")
    lock.close()


def test_memory_and_disk_are_told_too_and_may_be_overruled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = [word for flag in ("", "api-", "broker-", "mlflow-", "pipelines-", "ui-") for word in (f"--{flag}port", "0")]
    monkeypatch.setattr(preflight, "memory", lambda: 100_000_000)
    (problem,), _ = preflight.check_loop(["--dir", str(tmp_path), *free])
    assert problem.text == "0.1 GB of memory are available, the loop takes 1.7 GB"
    (room,) = preflight.check_environment(10**18, new=False)
    assert "of disk are free" in room.text
    assert "CHECKS=off make run" in preflight.explain([room], [], "", "make run")
    monkeypatch.setenv("CHECKS", "off")
    assert preflight.check_loop(["--dir", str(tmp_path), *free])[0] == []
    assert preflight.check_environment(10**18, new=False) == []


def test_memory_is_known_here() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("how much memory there is can be read on Linux only")
    assert 0 < preflight.memory() < 10**14


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("arguments", [["--port", "x"], ["--nonsense"], ["--port"]])
def test_wrong_arguments_are_left_to_the_command_that_knows_them(tmp_path: Path, arguments: list[str]) -> None:
    problems, _ = preflight.check_loop([*arguments])
    assert not [item for item in problems if "usage" in item.text]
