"""MLflow runs over its REST API: importing mlflow costs 3 s, and each pipeline step is a process of its own.

One parent run a run key, one nested run a step below it. All are found again by their tags, so a pipeline that is run
again writes into the runs that it has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from common import links
from common.errors import UnavailableError
from common.mlflow.client import ALREADY_EXISTS, MlflowError
from common.mlflow.registry import ModelRegistry
from common.names import EXPERIMENT

KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
"""By this tag MLflow's page opens an experiment as what it is, with its runs and models here, and does not ask."""
STEP_TAG = "step"
RUN_KEY_TAG = "run_key"
ATTEMPT_TAG = "pipeline_run"
PIPELINE_STEP = "pipeline"
MAX_TAG = 5000
MAX_PARAM = 6000


class Tracking(ModelRegistry):
    """The registry with its experiment's runs. Errors as in ModelRegistry."""

    def experiment(self) -> str:
        """The id of the experiment, which is made when it is not there yet."""
        found = self.call("GET", "experiments/get-by-name", experiment_name=EXPERIMENT)
        if found is None:
            try:
                body: dict[str, Any] = {"name": EXPERIMENT, "tags": [{"key": KIND_TAG, "value": KIND}]}
                made = self.call("POST", "experiments/create", **body)
                return str((made or {})["experiment_id"])
            except MlflowError as error:
                if error.code != ALREADY_EXISTS:
                    raise
                found = self.call("GET", "experiments/get-by-name", experiment_name=EXPERIMENT) or {}
        experiment = found["experiment"]
        key = str(experiment["experiment_id"])
        if not any(tag["key"] == KIND_TAG for tag in experiment.get("tags") or ()):  # whatever somebody chose stays
            self._post("experiments/set-experiment-tag", experiment_id=key, key=KIND_TAG, value=KIND)
        return key

    def find_run(self, run_key: str, step: str) -> dict[str, Any] | None:
        """The newest run of this key and step."""
        return self._newest(f"tags.{RUN_KEY_TAG} = '{run_key}' and tags.{STEP_TAG} = '{step}'")

    def find_attempt(self, pipeline_run: str) -> dict[str, Any] | None:
        """The parent run that the platform's run of this id writes to."""
        return self._newest(f"tags.{ATTEMPT_TAG} = '{pipeline_run}' and tags.{STEP_TAG} = '{PIPELINE_STEP}'")

    def _newest(self, query: str) -> dict[str, Any] | None:
        body: dict[str, Any] = {"experiment_ids": [self.experiment()], "filter": query, "max_results": 1}
        runs = (self.call("POST", "runs/search", **body) or {}).get("runs") or [None]
        return runs[0]

    def start_run(self, run_key: str, step: str, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """The id of the run of this key and step, which is running from now on."""
        now = int(time.time() * 1000)
        found = self.find_run(run_key, step)
        if found is not None:
            run_id = id_of(found)
            self._post("runs/update", run_id=run_id, status="RUNNING", end_time=None)
            for key, value in tags.items():
                self.tag_run(run_id, key, value)
            return run_id
        every = {**tags, RUN_KEY_TAG: run_key, STEP_TAG: step}
        if parent is not None:
            every["mlflow.parentRunId"] = parent
        made = self._post(
            "runs/create",
            experiment_id=self.experiment(),
            start_time=now,
            run_name=name,
            tags=[{"key": k, "value": v[:MAX_TAG]} for k, v in every.items()],
        )
        return str(made["run"]["info"]["run_id"])

    def end_run(self, run_id: str, status: str) -> None:
        """`status`: FINISHED, FAILED or KILLED."""
        self._post("runs/update", run_id=run_id, status=status, end_time=int(time.time() * 1000))

    def tag_run(self, run_id: str, key: str, value: str) -> None:
        self._post("runs/set-tag", run_id=run_id, key=key, value=value[:MAX_TAG])

    def log(self, run_id: str, metrics: Mapping[str, float] = {}, params: Mapping[str, Any] = {}) -> None:
        """Metrics and params; a param's first value stays (MLflow's are immutable), a metric's last counts."""
        now = int(time.time() * 1000)
        if metrics:
            rows = [{"key": k, "value": float(v), "timestamp": now, "step": 0} for k, v in metrics.items()]
            self._post("runs/log-batch", run_id=run_id, metrics=rows)
        if params:
            run = self._post("runs/get", method="GET", run_id=run_id)["run"]
            there = {p["key"] for p in run["data"].get("params") or ()}
            new = [{"key": k, "value": str(v)[:MAX_PARAM]} for k, v in params.items() if k not in there]
            if new:
                self._post("runs/log-batch", run_id=run_id, params=new)

    def upload(self, run_id: str, name: str, content: bytes | str) -> None:
        """A file among the run's artifacts, through the server's artifact proxy."""
        uri = str(self._post("runs/get", method="GET", run_id=run_id)["run"]["info"]["artifact_uri"])
        parts = urlsplit(uri)
        if parts.scheme != "mlflow-artifacts":
            return  # A store that only its own client can write to. The pipeline's artifacts hold the file as well.
        self.write_artifact(
            f"{parts.path.lstrip('/')}/{name}", content.encode() if isinstance(content, str) else content
        )

    def _post(self, path: str, *, method: str = "POST", **fields: Any) -> dict[str, Any]:
        answer = self.call(method, path, **{k: v for k, v in fields.items() if v is not None})
        if answer is None:
            raise MlflowError(f"the model registry does not know what {path} names")
        return answer


@contextmanager
def step_run(tracking: Tracking, run: Mapping[str, str], step: str) -> Iterator[str]:
    """The nested run of one step below the pipeline's run; FAILED with the error's line when the step raises.

    `run` names the run_key, and the pipeline_run that works at it: a run key may take more than one.
    """
    found = tracking.find_run(run["run_key"], PIPELINE_STEP)
    parent = None if found is None else id_of(found)
    tags = {"error": "", ATTEMPT_TAG: run["pipeline_run"]}
    run_id = tracking.start_run(run["run_key"], step, step, tags, parent)
    if page := links.mlflow_run({"MLFLOW_TRACKING_URI": tracking.uri}, tracking.experiment(), run_id):
        print(f"MLflow: {page}", flush=True)
    try:
        yield run_id
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        try:
            tracking.tag_run(run_id, "error", text)
            tracking.end_run(run_id, "FAILED")
        except UnavailableError:
            pass  # The step's own error matters more.
        raise
    tracking.end_run(run_id, "FINISHED")


def tags_of(run: Mapping[str, Any] | None) -> dict[str, str]:
    """The tags of a run as the REST API gives it; none of None."""
    return {tag["key"]: tag["value"] for tag in ((run or {}).get("data") or {}).get("tags") or ()}


def id_of(run: Mapping[str, Any]) -> str:
    return str(run["info"]["run_id"])
