"""What a retraining run left behind: its steps' metrics and files in MLflow, and its tasks' artifacts.

MLflow is read over REST by the run's key, the artifacts from the embedded pipelines server by the run's id; Kubeflow's
own shows artifacts on its pages alone. UnavailableError and SettingError as elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from common import links
from common.environment import text
from common.names import MODEL

if TYPE_CHECKING:
    from common.mlflow.registry import ModelRegistry
    from common.mlflow.runs import Run

METRICS = 200
FILES = 100
ARTIFACTS = 100


class Metric(TypedDict):
    step: str
    name: str
    value: float


class StoredFile(TypedDict):
    """`size` in bytes; None for a folder, or where the store does not know it. `page` is MLflow's, "" for none."""

    step: str
    name: str
    size: int | None
    page: str


class Results(TypedDict):
    """In the order in which the steps began. `unlisted` says why files are missing, "" where all are there."""

    metrics: list[Metric]
    files: list[StoredFile]
    unlisted: str


class Produced(TypedDict):
    """An artifact of a task. `type` is Kubeflow's, such as system.Model; `page` is where to read it, "" for none."""

    task: str
    name: str
    type: str
    size: int | None
    page: str


def read(environ: Mapping[str, str], run_key: str) -> Results:
    """What MLflow has of the retraining of this key; nothing where it has no run of it."""
    from common.mlflow import runs
    from common.mlflow.client import MlflowError
    from common.mlflow.registry import ModelRegistry

    files: list[StoredFile] = []
    unlisted = ""
    with ModelRegistry(environ, text(environ, "MCQA_REGISTERED_MODEL", MODEL)) as client:
        found = runs.search(client, f"tags.{runs.RUN_KEY_TAG} = {runs.quoted(run_key)}", 30)
        steps = sorted((run for run in found if _step(run)), key=lambda run: run.started)
        try:
            for run in steps:
                files += _files(client, environ, run)
        except MlflowError as error:  # a store that the server does not pass on: the metrics are shown all the same
            unlisted = " ".join(str(error).split())[:300]
    return {"metrics": metrics(steps)[:METRICS], "files": files[:FILES], "unlisted": unlisted}


def metrics(steps: list[Run]) -> list[Metric]:
    return [
        {"step": _step(run), "name": name, "value": value}
        for run in steps
        for name, value in sorted(run.metrics.items())
    ]


def produced(environ: Mapping[str, str], run_id: str) -> list[Produced] | None:
    """None where the pipeline server has no list of artifacts."""
    from common.kubeflow import KubeflowClient

    found = KubeflowClient(environ).artifacts(run_id)
    return None if found is None else [_produced(environ, entry) for entry in found[:ARTIFACTS]]


def _produced(environ: Mapping[str, str], entry: Mapping[str, Any]) -> Produced:
    size = entry.get("size")
    return {
        "task": str(entry.get("task") or ""),
        "name": str(entry.get("name") or ""),
        "type": str(entry.get("type") or ""),
        "size": size if isinstance(size, int) and entry.get("path") else None,
        "page": links.pipeline_file(environ, str(entry.get("url") or "")),
    }


def _files(client: ModelRegistry, environ: Mapping[str, str], run: Run) -> list[StoredFile]:
    entries = client.list_artifacts(client.proxy_path(run.artifact_uri)) if run.artifact_uri else []
    page = links.mlflow_files(environ, run.experiment_id, run.run_id)
    return [
        {
            "step": _step(run),
            "name": f"{entry['path']}/" if entry.get("is_dir") else str(entry["path"]),
            "size": None if entry.get("is_dir") or entry.get("file_size") is None else int(entry["file_size"]),
            "page": page,
        }
        for entry in entries
    ]


def _step(run: Run) -> str:
    from common.mlflow.runs import STEP_TAG

    return run.tags.get(STEP_TAG, "")
