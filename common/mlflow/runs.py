"""MLflow runs as the retraining pipeline writes them: one per retraining, and below it one per step. Reading only.

All runs of a retraining carry its run key as a tag, and each its step's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.names import EXPERIMENT

if TYPE_CHECKING:
    from common.mlflow.client import MlflowClient

RUN_KEY_TAG, STEP_TAG, CHAMPION_TAG = "run_key", "step", "champion"
BOOTSTRAP_KEY = "bootstrap"
"""The run key of a first version, which no retraining made."""
PIPELINE_STEP = "pipeline"
"""The step tag of a retraining's own run."""
EVALUATE_STEP, GATE_STEP = "evaluate", "gate"

EVALUATION_FILE, ANSWERS_FILE = "evaluation.json", "answers.jsonl"
"""Of the evaluate step's run, written by pipelines/evaluation/artifacts.py. A version's folder may hold the first."""
GATE_FILE = "gate.json"
"""Of the gate step's run: the result with each check's numbers."""
MAX_FILE = 8 * 1024 * 1024
"""Bytes of a file that is read whole."""


@dataclass(frozen=True, slots=True)
class Run:
    """`started` and `ended` in Unix seconds, `ended` None while it runs. `status` is MLflow's."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    started: float
    ended: float | None
    artifact_uri: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def search(client: MlflowClient, query: str, most: int) -> list[Run]:
    """The newest runs of the loop's experiment that a filter selects. None where there is no such experiment."""
    found = client.call("GET", "experiments/get-by-name", experiment_name=EXPERIMENT)
    if found is None:
        return []
    body: dict[str, Any] = {
        "experiment_ids": [str(found["experiment"]["experiment_id"])],
        "filter": query,
        "max_results": most,
        "order_by": ["attributes.start_time DESC"],
    }
    return [_run(item) for item in (client.call("POST", "runs/search", **body) or {}).get("runs") or ()]


def read_file(client: MlflowClient, run: Run, name: str, most: int = MAX_FILE) -> bytes | None:
    """A file of the run's artifacts; None if it has no such file. MlflowError for one of more than `most` bytes."""
    folder = client.proxy_path(run.artifact_uri)
    names = {entry["path"] for entry in client.list_artifacts(folder) if not entry.get("is_dir")}
    return client.read_artifact(f"{folder}/{name}", most) if name in names else None


def quoted(value: str) -> str:
    """A value in a filter. MLflow's filters know no escapes: one that holds a quotation mark matches nothing."""
    return "''" if "'" in value or "\\" in value else f"'{value}'"


def _run(item: Mapping[str, Any]) -> Run:
    info, data = item["info"], item.get("data") or {}
    ended = info.get("end_time")
    return Run(
        str(info["run_id"]),
        str(info["experiment_id"]),
        str(info.get("run_name") or ""),
        str(info.get("status") or ""),
        float(info.get("start_time") or 0) / 1000,
        float(ended) / 1000 if ended else None,
        str(info.get("artifact_uri") or ""),
        {tag["key"]: tag["value"] for tag in data.get("tags") or ()},
        {param["key"]: param["value"] for param in data.get("params") or ()},
        {metric["key"]: float(metric["value"]) for metric in data.get("metrics") or ()},
    )
