"""A folder becomes a registered version: Hugging Face layout at the root, once per run key, all of it or nothing.

A version is made in an order in which a crash leaves nothing that serves: the logged model with its files (PENDING
until all are there), then READY, then in one request the version with all its tags. The next attempt with the same run
key uses a finished logged model of the same content, deletes any other, and finds a version that is there already.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry, RegisteredVersion
from common.mlflow.runs import RUN_KEY_TAG
from common.names import EXPERIMENT, MODEL
from pipelines.registration.tracking import KIND, KIND_TAG
from predictor.storage.version_folder import data_files, require_version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model

MODEL_TYPE = MODEL
CONTENT_TAG = "content"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What to register. `run_id`: the MLflow run it comes from, None for a folder from elsewhere.

    `tags` become the version's, beside run_key; `params` and `metrics` the logged model's (metrics need a run).
    """

    folder: Path
    run_key: str
    run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    description: str = ""


def find(registry: ModelRegistry, run_key: str) -> RegisteredVersion | None:
    """The version that was registered under this run key; the first, should there be several."""
    query = f"name='{registry.model_name}' and tags.{RUN_KEY_TAG}='{run_key}'"
    answer = registry.call("GET", "model-versions/search", filter=query, max_results="100") or {}
    numbers = sorted(int(item["version"]) for item in answer.get("model_versions") or ())
    return registry.version(str(numbers[0])) if numbers else None


def register(registry: ModelRegistry, uri: str, candidate: Candidate) -> RegisteredVersion:
    """The version of the candidate's run key, registered now unless it exists. `uri` is the MLflow server's.

    Raises StorageError when the folder is not a version, UnavailableError or MlflowException when the server
    does not answer.
    """
    if (existing := find(registry, candidate.run_key)) is not None:
        return existing
    require_version(candidate.folder)
    # Here, because the import takes 3 s and most calls find nothing to do.
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    _ensure_model(registry)
    model_id = _logged_model(client, candidate)
    version = client.create_model_version(
        registry.model_name,
        f"models:/{model_id}",
        run_id=candidate.run_id,
        tags={**candidate.tags, RUN_KEY_TAG: candidate.run_key},
        description=candidate.description or None,
        model_id=model_id,
    )
    registered = registry.version(str(version.version))
    assert registered is not None
    return registered


def content_digest(folder: Path) -> str:
    """64 hex digits of the version's data files: names and bytes."""
    whole = hashlib.sha256()
    for name, path in sorted(data_files(folder).items()):
        with path.open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def link_files(folder: Path, out: Path) -> None:
    """Links the version's data files into another folder."""
    for name, path in data_files(folder).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).symlink_to(path)


def _ensure_model(registry: ModelRegistry) -> None:
    if registry.model() is not None:
        return
    try:
        registry.call("POST", "registered-models/create", name=registry.model_name)
    except UnavailableError:
        if registry.model() is None:  # else another process was faster
            raise


def _logged_model(client: MlflowClient, candidate: Candidate) -> str:
    """The id of a READY logged model that holds the candidate's files."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = (
        experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, tags={KIND_TAG: KIND})
    )
    if experiment and KIND_TAG not in experiment.tags:
        client.set_experiment_tag(experiment_id, KIND_TAG, KIND)
    content = content_digest(candidate.folder)
    query = f"tags.{RUN_KEY_TAG} = '{candidate.run_key}'"
    for earlier in client.search_logged_models([experiment_id], filter_string=query):
        if earlier.status.value == "READY" and earlier.tags.get(CONTENT_TAG) == content:
            return str(earlier.model_id)
        client.delete_logged_model(earlier.model_id)
    model = client.create_logged_model(
        experiment_id,
        name=MODEL_TYPE,
        source_run_id=candidate.run_id,
        tags={RUN_KEY_TAG: candidate.run_key, CONTENT_TAG: content},
        params={k: str(v) for k, v in candidate.params.items()},
        model_type=MODEL_TYPE,
    )
    if candidate.run_id:
        for key, value in candidate.metrics.items():
            client.log_metric(candidate.run_id, key, value, model_id=model.model_id)
    with _upload_folder(candidate.folder, model.model_id) as folder:
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


@contextmanager
def _upload_folder(folder: Path, model_id: str) -> Iterator[Path]:
    """The version's data files (as links) and MLflow's own description."""
    with tempfile.TemporaryDirectory(prefix="mcqa-register-") as temporary:
        root = Path(temporary)
        link_files(folder, root)
        _describe(model_id).save(str(root / "MLmodel"))
        yield root


def _describe(model_id: str) -> Model:
    from mlflow.models import Model

    flavor: dict[str, Any] = {"layout": "huggingface", "server": "python -m predictor", "weights": "safetensors"}
    return Model(signature=signature(), flavors={"coding_mcqa": flavor}, model_id=model_id)


def signature() -> Any:
    """The fields of a question and its answer (common/question.py) as an mlflow ModelSignature."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    text, number = DataType.string, DataType.double
    inputs = [
        ColSpec(text, "question"),
        ColSpec(Array(text), "choices"),
        *(ColSpec(text, name, required=False) for name in ("code", "id", "subject")),
    ]
    outputs = [
        *(ColSpec(text, name) for name in ("letter", "choice", "model_version")),
        *(ColSpec(DataType.long, name) for name in ("index", "prompt_tokens")),
        ColSpec(Array(number), "probabilities"),
        *(ColSpec(number, name) for name in ("confidence", "margin", "entropy", "letter_mass")),
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))
