"""What drift and retrain read is what the ConfigMap tells them; and they start without what they do not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from function_server import ROOT, environment

from common.kubeflow import TOKEN_PATH
from common.limits import MIN_LABELLED_QUESTIONS
from functions.drift.settings import read_settings as drift_settings
from functions.retrain.settings import read_settings as retrain_settings

HEAVY = ("pandas", "torch", "kserve", "mlflow", "kfp", "scipy", "transformers", "alembic", "apprise", "kubernetes")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "knative/config.yaml").read_text())["data"])


def test_the_config_map_holds_the_defaults(config: dict[str, str]) -> None:
    assert drift_settings(config) == drift_settings({})
    assert retrain_settings(config) == retrain_settings({})
    assert config["MCQA_KFP_TOKEN_PATH"] == TOKEN_PATH
    names = {name for name in config if name.startswith(("MCQA_DRIFT_", "MCQA_RETRAIN_", "MCQA_KFP_"))}
    files = (*Path(ROOT, "functions").glob("*/*.py"), *Path(ROOT, "common").glob("*.py"))
    code = "".join(path.read_text() for path in files)
    assert {name for name in names if f'"{name}"' not in code} == set()


def test_the_minimum_of_feedback_is_the_pipelines() -> None:
    from pipelines.retraining.dataset import DatasetSizes

    assert DatasetSizes().minimum == MIN_LABELLED_QUESTIONS
    assert retrain_settings({}).minimum == MIN_LABELLED_QUESTIONS
    assert retrain_settings({"MCQA_RETRAIN_PARAMETERS": '{"data": {"minimum": 30}}'}).minimum == 30


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("name", "unneeded"), [("drift", HEAVY), ("retrain", (*HEAVY, "numpy"))])
def test_a_cold_start_imports_only_what_it_needs(name: str, unneeded: tuple[str, ...]) -> None:
    code = (
        "import json, sys, time; begin = time.perf_counter(); import functions_framework; "
        f"import functions.{name}.handler; seconds = time.perf_counter() - begin; "
        f"print(json.dumps([[m for m in {unneeded!r} if m in sys.modules], round(seconds, 3)]))"
    )
    env = {
        "MCQA_DATABASE_URL": "sqlite://",
        "K_SINK": "http://127.0.0.1:9",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "KFP_ENDPOINT": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(**env), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    heavy, seconds = json.loads(done.stdout)
    print(f"{name}: functions_framework and handler imported in {seconds} s")
    assert heavy == []
