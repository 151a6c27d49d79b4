"""The GitHub workflows: schema, pins, permissions, limits, the commands of everywhere else; and pre-commit."""

from __future__ import annotations

import importlib.resources
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ci_commands import ROOT, problem

FILES = sorted((ROOT / ".github/workflows").glob("*.yaml"))


def schema(name: str) -> dict[str, Any]:
    """One of those that check-jsonschema carries, so that nothing is fetched."""
    place = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{name}.json"
    result: dict[str, Any] = json.loads(place.read_text())
    return result


def load(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true; GitHub does not.
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text()).items()}


def errors(document: Any, name: str) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(schema(name)).iter_errors(document)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
class TestWorkflow:
    def test_schema(self, path: Path) -> None:
        assert errors(load(path), "github-workflows") == []

    def test_actions_are_pinned(self, path: Path) -> None:
        lines = [line.strip() for line in path.read_text().splitlines() if "uses:" in line]
        wrong = [
            item for item in lines if not re.fullmatch(r"- uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", item)
        ]
        assert lines
        assert not wrong

    def test_permissions(self, path: Path) -> None:
        flow = load(path)
        assert flow["permissions"] == {"contents": "read"}
        wider = {name: job["permissions"] for name, job in flow["jobs"].items() if "permissions" in job}
        assert wider == ({} if path.name != "release.yaml" else {"images": {"contents": "read", "packages": "write"}})

    def test_limits(self, path: Path) -> None:
        flow = load(path)
        assert flow["concurrency"]["group"]
        for name, job in flow["jobs"].items():
            assert job["timeout-minutes"] <= 120, name
            assert not job["runs-on"].endswith("latest"), name

    def test_commands(self, path: Path) -> None:
        actual = [command for job in load(path)["jobs"].values() for command in runs(job)]
        assert actual
        assert {command: why for command in actual if (why := problem(command))} == {}

    def test_no_token_stays_in_the_checkout(self, path: Path) -> None:
        for job in load(path)["jobs"].values():
            steps = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
            assert all(step["with"]["persist-credentials"] is False for step in steps)


def runs(job: dict[str, Any]) -> list[str]:
    """Its commands, with each value of the matrix in its place."""
    result = [step["run"] for step in job["steps"] if "run" in step]
    for name, values in job.get("strategy", {}).get("matrix", {}).items():
        expression = f"${{{{ matrix.{name} }}}}"
        result = [
            item.replace(expression, value) for item in result for value in (values if expression in item else [""])
        ]
    return result


def test_pull_requests_get_no_secret_and_no_more_than_reading() -> None:
    flow = load(ROOT / ".github/workflows/ci.yaml")
    assert "pull_request" in flow["on"]
    assert "pull_request_target" not in flow["on"]
    assert "secrets." not in (ROOT / ".github/workflows/ci.yaml").read_text()


def test_a_misspelt_key_would_be_seen() -> None:
    flow = load(FILES[0])
    flow["jobs"]["lint"]["timeout-minute"] = 1
    assert errors(flow, "github-workflows")


def test_both_run_what_jenkins_runs() -> None:
    """Of the Jenkinsfile's steps, those on pull requests; pushing and deploying stay out of it."""
    jenkins = set(re.findall(r"\bsh '([^']+)'", (ROOT / "Jenkinsfile").read_text()))
    github = {c for job in load(ROOT / ".github/workflows/ci.yaml")["jobs"].values() for c in runs(job)}
    only = {"make images-push", "scripts/tools images-login"}
    only |= {
        command for command in jenkins if command.startswith(("make deploy", "make smoke", "scripts/tools promote"))
    }
    assert github == jenkins - only
    assert {"make manifests", "make manifests-check", "make images-scan"} <= github


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_scan_looks_for_vulnerabilities(path: Path) -> None:
    jobs = [job for job in load(path)["jobs"].values() if "make images-scan" in runs(job)]
    assert [job["env"]["IMAGES_SCAN_VULNERABILITIES"] for job in jobs] == ["require"]


@pytest.mark.usefixtures("processes")
def test_zizmor_finds_nothing() -> None:
    command = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--no-progress", ".github/workflows"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


class TestPreCommit:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())

    def test_it_runs_make_lint_and_nothing_else(self) -> None:
        (repository,) = self.config["repos"]
        (hook,) = repository["hooks"]
        assert repository["repo"] == "local"
        assert (hook["entry"], hook["language"], hook["pass_filenames"]) == ("make lint", "system", False)
        assert problem(hook["entry"]) is None

    @pytest.mark.usefixtures("processes")
    def test_pre_commit_accepts_it(self) -> None:
        command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


SECRETS = re.compile(
    r"(?i)(?:password|passwd|secret|token|api[_-]?key)\w*[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9+/_.-]{8,}|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|xox[abp]-[0-9A-Za-z-]{10,}"
)
PLAIN = [
    "Jenkinsfile", "compose.yaml", ".pre-commit-config.yaml", ".jenkins/agent.yaml", ".jenkins/Dockerfile",
    *(str(path.relative_to(ROOT)) for path in FILES),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "deploy/compose").rglob("*")) if path.is_file()),
]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_no_credential_is_written_out(name: str) -> None:
    result = [match[0] for match in SECRETS.finditer((ROOT / name).read_text())]
    # Names of variables and of entries in the credential store are none.
    allowed = re.compile(r"(?i).*[:=]\s*[\"']?(?:REGISTRY_|MLFLOW_TRACKING_|POSTGRES_|GRAFANA_|coding-mcqa-|password$)")
    assert [item for item in result if not allowed.match(item)] == []


@pytest.mark.parametrize("line", ["password: hunter2hunter2", "TOKEN='abcdefgh123'", "ghp_" + "a" * 30])
def test_a_credential_would_be_seen(line: str) -> None:
    assert SECRETS.search(line)
