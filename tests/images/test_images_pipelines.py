"""The pipelines image: it compiles its pipeline, and runs the compiled steps as Kubeflow's executor does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from images_run import NEEDED, register, run
from retraining_loop import event_sink, feedback_database

from common.mlflow.registry import ModelRegistry
from pipelines.bank import generate
from tests.pipelines.test_retraining_pipeline import LEARNS

pytestmark = NEEDED
MODEL = "in-the-image"
# Each step is the command of the compiled pipeline (python3 -m kfp.dsl.executor_main) in a process of its own.
PIPELINE = """
import json, sys
from kfp import components, local
from pipelines.retraining.__main__ import main
assert main(["compile", "/tmp/retraining.yaml"]) == 0
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="/tmp/root")
components.load_component_from_file("/tmp/retraining.yaml")(**json.loads(sys.argv[1]))
"""


def test_every_step_of_the_pipeline_runs(registry: str, tmp_path: Path) -> None:
    """collect-data, fine-tune, evaluate, gate, reference, register and report, with the shipped model."""
    register(registry, MODEL)
    feedback_database(tmp_path, generate(5, 260, ("regex",)) + generate(6, 20, ("complexity",)), since=1000.0)
    tmp_path.chmod(0o777)
    (tmp_path / "loop.db").chmod(0o666)
    key = hashlib.sha256(b"in the image").hexdigest()
    parameters = {
        **LEARNS,
        "run_key": key,
        "model_name": MODEL,
        "champion": "1",
        "until": 10_000.0,
        "reason": "the test wants it",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }
    environ = {"MLFLOW_TRACKING_URI": registry, "MCQA_REGISTERED_MODEL": MODEL}
    with event_sink() as sink:
        inside = {
            **environ,
            "MCQA_DATABASE_URL": "sqlite:////data/loop.db",
            "K_SINK": sink.url,
            "MCQA_CACHE": "/tmp/cache",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
        }
        run("pipelines", "python", "-c", PIPELINE, json.dumps(parameters), env=inside, mounts=(f"{tmp_path}:/data",))
        assert sink.events
    with ModelRegistry(environ, MODEL) as versions:
        model = versions.model()
        assert model is not None
        assert model.aliases == {"champion": "1", "challenger": "2"}
        assert versions.versions()[0].tags["run_key"] == key
