"""The command line that puts a version into a folder, as KServe's storage initializer runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).parents[3]


def run(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "predictor.storage", *args], cwd=cwd, capture_output=True, text=True)


def test_the_command_line_as_kserve_runs_it(version: Path, tmp_path: Path) -> None:
    done = run(str(version), str(tmp_path / "mnt" / "models"))
    assert done.returncode == 0
    line = json.loads(done.stderr.splitlines()[-1])
    assert line["message"] == "fetched"
    assert (line["version"], line["files"], line["bytes"]) == ("tiny-3", 4, 1006)

    failed = run("mlflow://coding-mcqa@champion", str(tmp_path / "x"))
    assert failed.returncode == 1
    assert json.loads(failed.stderr)["level"] == "error"
    assert "not a version number" in failed.stderr
    assert run("only-one").returncode == 2


def test_importing_the_module_loads_the_standard_library_only() -> None:
    code = (
        "import sys, predictor.storage.__main__; own = {m.partition('.')[0] for m in sys.modules}; "
        "own -= set(sys.stdlib_module_names);"
        "print(*sorted(n for n in own if not n.startswith(('_', 'sitecustomize'))))"
    )
    out = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["common", "predictor"]
