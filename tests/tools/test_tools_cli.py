"""scripts/tools: its commands, how they are called wrongly, and what the make verbs make of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer
from tool import ROOT, TOOL, invoke
from typer.testing import CliRunner

from tools import cli
from tools.errors import CommandFailedError, ToolError

COMMANDS = sorted(command.name or "" for command in cli.app.registered_commands)
MAKEFILE = (ROOT / "Makefile").read_text()


def plain(text: str) -> str:
    """Help without its frames and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    text = plain(result.stdout)
    assert f"Usage: scripts/tools {command}" in text
    (registered,) = (item for item in cli.app.registered_commands if item.name == command)
    assert registered.callback
    first = (registered.callback.__doc__ or "").partition("\n")[0]
    assert re.fullmatch(r"[A-Z].{20,}\.", first), first


def test_every_tool_of_the_makefile_is_a_command() -> None:
    used = re.findall(r"^\t\$\(TOOLS\) ([a-z-]+)", MAKEFILE, re.MULTILINE)
    assert len(used) >= 15
    assert set(used) <= set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("deploy", "staging"), "deploy: 'staging' is not an overlay: OVERLAY=minikube|production|standard"),
        (("deploy", "--wait", "soon"), "deploy: Invalid value for '--wait'"),
        (("smoke",), "smoke: no address"),
        (("images", "kernel"), "images: 'kernel' is not one of: functions predictor mlflow pipelines"),
        (("images-push",), "images-push: to which registry? REGISTRY=HOST/PATH"),
        (("images-push", "--registry", "dev.local/x", "--engine", "podman"),
         "images-push: dev.local is not a registry"),
        (("images-push", "--registry", "r.example.com/x", "--engine", "podman", "--tag", "latest"),
         "images-push: 'latest' names no version"),
        (("images-login", "--registry", "r.example.com/x", "--user", "ann"),
         "images-login: REGISTRY_PASSWORD is not set"),
        (("secrets", "--copy-only", "--rotate-webhook"),
         "secrets: --copy-only and --rotate-webhook exclude each other"),
        (("cluster-up", "--dryrun"), "cluster-up: No such option: --dryrun"),
        (("test", "all"), "test: Invalid value for 'suite'"),
        (("promote", "latest"), "promote: Invalid value for 'version': must be a version's number, found 'latest'"),
        (("nothing-of-the-kind",), "scripts/tools: No such command 'nothing-of-the-kind'"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_line_and_status_2(
    arguments: tuple[str, ...], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("URL", "OVERLAY", "REGISTRY", "REGISTRY_USER", "REGISTRY_PASSWORD", "TAG"):
        monkeypatch.delenv(name, raising=False)
    result = invoke(*arguments)
    assert result.exit_code == 2
    (message,) = result.stderr.splitlines()
    assert message.startswith(line)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ToolError("it is broken"), 1, "act: it is broken\n"),
        (ToolError("it is unusable", 2), 2, "act: it is unusable\n"),
        (CommandFailedError("x", 7), 7, "act: x\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_failure_is_one_line_with_its_exit_status(error: BaseException, status: int, line: str) -> None:
    app = typer.Typer(cls=cli.Group)

    @app.command("act")
    def act() -> None:
        raise error

    @app.command("other")
    def other() -> None: ...

    result = CliRunner().invoke(app, ["act"])
    assert (result.exit_code, result.stderr) == (status, line)


@pytest.mark.usefixtures("processes")
def test_it_can_be_called_from_anywhere_in_the_checkout() -> None:
    done = subprocess.run(
        [*TOOL, "manifests-check", "--help"], cwd=ROOT / "docs", env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("processes")
def test_the_launcher_sets_up_and_passes_its_arguments_on(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for path, text in (
        ("scripts/tools", (ROOT / "scripts/tools").read_text()),
        ("scripts/setup", '#!/bin/sh\necho "setup $*"\n'),
        (".venv/bin/python", '#!/bin/sh\nprintf "%s|" "$@"\nexit 3\n'),
    ):
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    command = [str(tmp_path / "scripts/tools"), "promote", "a b", "$(id)"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "setup run\n-m|tools|promote|a b|$(id)|")
