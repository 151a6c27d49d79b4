"""Conditions and uploads: the parts that need no run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import kfp_cases as cases
import pytest
from kfp import compiler
from kfp_server import ENVIRON, HEADERS, ROOT, KfpServer

from local.pipelines.condition import ConditionError, evaluate, inputs
from local.pipelines.upload import UploadError, upload

VALUES = {"yes": True, "no": False, "n": 3, "x": 0.5, "s": "it's", "none": None}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("inputs.parameter_values['yes'] == true", True),
        ("inputs.parameter_values['no'] == true", False),
        ("!(inputs.parameter_values['no'] == true)", True),
        ("!(inputs.parameter_values['no'] == true) && inputs.parameter_values['yes'] == true", True),
        ("inputs.parameter_values['no'] == true || inputs.parameter_values['yes'] == true", True),
        ("int(inputs.parameter_values['n']) >= 3", True),
        ("int(inputs.parameter_values['n']) != 3", False),
        ("double(int(inputs.parameter_values['n'])) > 2.5", True),
        ("inputs.parameter_values['x'] < -1.5e-3", False),
        ("inputs.parameter_values['s'] == 'other'", False),
        ("inputs.parameter_values['s'] != 'a == true && ('", True),
        ("inputs.parameter_values['s'] == inputs.parameter_values['s']", True),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    assert evaluate(condition, VALUES.__getitem__) is holds
    assert inputs(condition) <= VALUES.keys()


@pytest.mark.parametrize(
    "condition",
    [
        "", "true ==", "__import__('os')", "inputs.parameter_values['yes'].x == 1",
        "inputs.parameter_values['n'] > 'a'",
        "int(inputs.parameter_values['s']) == 1", "x == 1", "true == true == true", "(" * 500, "1" * 5000, "not true",
        "inputs.parameter_values['none'] > 1", "int == 1",
    ],
)  # fmt: skip
def test_what_is_no_condition(condition: str) -> None:
    with pytest.raises(ConditionError):
        evaluate(condition, VALUES.__getitem__)


def compiled(pipeline: Any, path: Path) -> Path:
    compiler.Compiler().compile(pipeline, str(path))
    return path


def test_upload_is_idempotent(server: KfpServer, tmp_path: Path) -> None:
    environ = {"KFP_ENDPOINT": server.url, **ENVIRON}
    first, other = compiled(cases.gated, tmp_path / "a.yaml"), compiled(cases.named, tmp_path / "b.yaml")
    version = upload(environ, "idempotent", first)
    assert upload(environ, "idempotent", first) == version
    newer = upload(environ, "idempotent", other)
    assert newer != version
    assert upload(environ, "idempotent", other) == newer
    again = upload(environ, "idempotent", first)  # back to the first file: the newest version must be this one
    assert again not in (version, newer)

    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(upload(environ, "at-once", first))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_upload_as_a_command(server: KfpServer, tmp_path: Path) -> None:
    file = compiled(cases.gated, tmp_path / "a.yaml")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-m", "local.pipelines.upload", *arguments]
        return subprocess.run(
            call, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=os.environ | ENVIRON
        )

    done = command(server.url, "by-command", str(file))
    assert done.returncode == 0, done.stderr
    query = {"sort_by": "created_at desc"}
    pipelines = httpx.get(f"{server.url}/apis/v2beta1/pipelines", headers=HEADERS, params=query).json()["pipelines"]
    pipeline = next(one["pipeline_id"] for one in pipelines if one["display_name"] == "by-command")
    url = f"{server.url}/apis/v2beta1/pipelines/{pipeline}/versions"
    versions = httpx.get(url, headers=HEADERS).json()["pipeline_versions"]
    assert [one["pipeline_version_id"] for one in versions] == [done.stdout.strip()]
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: 1")
    refused = command(server.url, "by-command", str(broken))
    assert refused.returncode == 1
    assert "pipeline_spec is not valid" in refused.stderr
    assert refused.stderr.count("\n") == 1
    with pytest.raises(UploadError, match="does not answer"):
        upload({"KFP_ENDPOINT": "http://127.0.0.1:9"}, "x", file)


def test_the_server_does_without_the_sdk() -> None:
    code = "import sys, local.pipelines.__main__, local.pipelines.spec as s; s._messages(); print('kfp' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
