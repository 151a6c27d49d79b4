"""Running programs: statuses become exit codes, and what is secret is in no message."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from tools import process
from tools.console import Console
from tools.errors import CommandFailedError, ToolError


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The status with which each program ends; one without has not been installed."""
    statuses: dict[str, int] = {}

    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        if command[0] not in statuses:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, statuses[command[0]], "out\n", "err\n")

    monkeypatch.setattr(subprocess, "run", run)
    return statuses


@pytest.mark.parametrize(("status", "code"), [(1, 1), (125, 125), (-15, 143)])
def test_a_failed_command_gives_its_status(ended: dict[str, int], status: int, code: int) -> None:
    ended["podman"] = status
    for function in (process.run, process.output):
        with pytest.raises(CommandFailedError, match=f"`podman build -t …` ended with status {code}") as raised:
            function(["podman", "build", "-t", "hunter2", "hunter3"], text="hunter4")
        assert raised.value.exit_code == code
        assert "hunter" not in str(raised.value)
    assert process.status(["podman"]) == status
    assert process.attempt(["podman"]).returncode == status


def test_a_missing_program_is_named(ended: dict[str, int]) -> None:
    for function in (process.run, process.output, process.attempt, process.status):
        with pytest.raises(ToolError, match="helm is not installed"):
            function(["helm", "version"])


def test_a_dry_run_runs_nothing(ended: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    console = Console("x", dry_run=True)
    console.run(["helm", "a b"])
    console.show(["make"], COMPONENTS="", TAG="1 2")
    assert capsys.readouterr().out == "helm 'a b'\nCOMPONENTS= TAG='1 2' make\n"


@pytest.mark.parametrize(("text", "line"), [("", ""), ("a\nb\n\n", "b"), ("a", "a")])
def test_the_last_line(text: str, line: str) -> None:
    assert process.last_line(text) == line
