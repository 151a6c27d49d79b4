"""The lean import of kserve: what stays out of the serving process, and that kserve stays whole."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.servers import ROOT

pytestmark = pytest.mark.usefixtures("processes")

HEAVY = ("pandas", "pyarrow", "kubernetes", "google.auth", "transformers", "scipy", "mlflow", "opentelemetry.sdk")


def python(code: str, *arguments: str) -> Any:
    """What the code prints as JSON in a fresh interpreter."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


def test_serving_loads_nothing_it_does_not_need() -> None:
    code = (
        "import json, sys, predictor.serving.server, predictor.scorer\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    assert python(code) == []


def test_kserve_is_whole_for_whoever_needs_more() -> None:
    code = """
import json, sys
from predictor.serving.kserve_import import import_kserve
import_kserve()
before = "kubernetes" in sys.modules
import kserve
from kserve import InferInput, InferRequest, KServeClient, Model
from kserve.model import Model as same
frame = InferRequest("m", [InferInput("a", [2], "INT32", [1, 2])]).as_dataframe()
import pandas
print(json.dumps([before, "kubernetes" in sys.modules, KServeClient.__name__, Model is same, frame["a"].tolist(),
                  isinstance(frame, pandas.DataFrame)]))
"""
    assert python(code) == [False, True, "KServeClient", True, [1, 2], True]


def test_a_program_that_has_kserve_and_pandas_already_keeps_them() -> None:
    code = """
import json, pandas, kserve
from predictor.serving.kserve_import import import_kserve
import_kserve()
from predictor.serving.kserve_sdk import InferRequest
import kserve.protocol.infer_type as module
print(json.dumps([module.pd is pandas, InferRequest is kserve.InferRequest]))
"""
    assert python(code) == [True, True]


def test_the_command_line_of_the_program_is_not_kserves() -> None:
    code = """
import json, sys
from predictor.serving import kserve_sdk
from kserve.model_server import args
print(json.dumps([args.http_port, sys.argv[1:]]))
"""
    assert python(code, "--http_port=none", "--workers", "7") == [8080, ["--http_port=none", "--workers", "7"]]


def test_a_missing_sdk_is_told_even_with_a_folder_of_its_name(tmp_path: Any) -> None:
    (tmp_path / "kserve").mkdir()
    code = (
        "import json, sys\n"
        f"sys.path[:] = [{str(ROOT)!r}, {str(tmp_path)!r}] + [p for p in sys.path if 'site-packages' not in p]\n"
        "from predictor.serving.kserve_import import import_kserve\n"
        "try: import_kserve()\n"
        "except ModuleNotFoundError as error: print(json.dumps(str(error)))"
    )
    assert python(code) == "the package kserve is not installed"
