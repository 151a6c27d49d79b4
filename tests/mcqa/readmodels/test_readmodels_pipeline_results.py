"""What a retraining left in a real MLflow."""

from __future__ import annotations

import pytest
from registered_versions import Retraining, first_version, key_of, retrained

from mcqa.readmodels import pipeline_results
from pipelines.registration.tracking import Tracking

MODEL = "pipeline-results-test"
pytestmark = pytest.mark.usefixtures("processes")


def test_metrics_and_files_of_the_steps(mlflow_url: str) -> None:
    environ = {"MLFLOW_TRACKING_URI": mlflow_url, "MCQA_REGISTERED_MODEL": MODEL}
    first_version(mlflow_url, MODEL)
    retrained(Tracking(environ, MODEL), mlflow_url, "results", Retraining("1", 0.8, 0.6, seed=5, size=60))
    found = pipeline_results.read(environ, key_of("results"))
    assert ("collect-data", "train_new", 120.0) in [(m["step"], m["name"], m["value"]) for m in found["metrics"]]
    files = {file["name"]: file for file in found["files"]}
    assert {"answers.jsonl", "evaluation.json", "gate.json"} <= set(files)
    assert files["gate.json"]["step"] == "gate"
    assert files["gate.json"]["page"].startswith(f"{mlflow_url}/#/experiments/")
    assert found["unlisted"] == ""
    assert pipeline_results.read(environ, "no such key") == pipeline_results.Results(metrics=[], files=[], unlisted="")
