"""MLflow runs over its REST API: importing mlflow costs 3 s, and each pipeline step is a process of its own.

One parent run per run key, and below it one nested run per step. All are found again by their tags, so a pipeline that
is repeated writes into the runs it has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from common import links
from common.backoff import describe_error
from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry
from common.mlflow.runs import PIPELINE_STEP, RUN_KEY_TAG, STEP_TAG
from common.names import EXPERIMENT
from pipelines.run_context import RunContext

KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
"""By this tag MLflow's user interface knows what kind of experiment this is, and does not ask."""
ATTEMPT_TAG = "pipeline_run"
MAX_TAG = 5000
MAX_PARAM = 6000


class Tracking(ModelRegistry):
    """The registry with its experiment's runs. Errors as in ModelRegistry."""

    def experiment(self) -> str:
        """The id of the experiment, which is created if it is not there yet."""
        answer = self.call("GET", "experiments/get-by-name", experiment_name=EXPERIMENT)
        if answer is None:
            try:
                body: dict[str, Any] = {"name": EXPERIMENT, "tags": [{"key": KIND_TAG, "value": KIND}]}
                return str(self._post("experiments/create", **body)["experiment_id"])
            except UnavailableError:
                answer = self.call("GET", "experiments/get-by-name", experiment_name=EXPERIMENT)
                if answer is None:  # else another process was faster
                    raise
        experiment = answer["experiment"]
        key = str(experiment["experiment_id"])
        if not any(tag["key"] == KIND_TAG for tag in experiment.get("tags") or ()):  # what somebody chose stays
            self._post("experiments/set-experiment-tag", experiment_id=key, key=KIND_TAG, value=KIND)
        return key

    def find_run(self, run_key: str, step: str) -> dict[str, Any] | None:
        """The newest run of this key and step."""
        return self._newest(f"tags.{RUN_KEY_TAG} = '{run_key}' and tags.{STEP_TAG} = '{step}'")

    def find_attempt(self, pipeline_run: str) -> dict[str, Any] | None:
        """The parent run that the pipeline run of this id writes to."""
        return self._newest(f"tags.{ATTEMPT_TAG} = '{pipeline_run}' and tags.{STEP_TAG} = '{PIPELINE_STEP}'")

    def _newest(self, query: str) -> dict[str, Any] | None:
        body: dict[str, Any] = {"experiment_ids": [self.experiment()], "filter": query, "max_results": 1}
        runs: list[dict[str, Any]] = (self.call("POST", "runs/search", **body) or {}).get("runs") or []
        return runs[0] if runs else None

    def start_run(self, run_key: str, step: str, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """The id of the run of this key and step, which is marked as running."""
        now = int(time.time() * 1000)
        existing = self.find_run(run_key, step)
        if existing is not None:
            run_id = id_of(existing)
            self._post("runs/update", run_id=run_id, status="RUNNING", end_time=None)
            for key, value in tags.items():
                self.tag_run(run_id, key, value)
            return run_id
        all_tags = {**tags, RUN_KEY_TAG: run_key, STEP_TAG: step}
        if parent is not None:
            all_tags["mlflow.parentRunId"] = parent
        answer = self._post(
            "runs/create",
            experiment_id=self.experiment(),
            start_time=now,
            run_name=name,
            tags=[{"key": k, "value": v[:MAX_TAG]} for k, v in all_tags.items()],
        )
        return str(answer["run"]["info"]["run_id"])

    def end_run(self, run_id: str, status: str) -> None:
        """`status`: FINISHED, FAILED or KILLED."""
        self._post("runs/update", run_id=run_id, status=status, end_time=int(time.time() * 1000))

    def tag_run(self, run_id: str, key: str, value: str) -> None:
        self._post("runs/set-tag", run_id=run_id, key=key, value=value[:MAX_TAG])

    def log(self, run_id: str, metrics: Mapping[str, float] = {}, params: Mapping[str, Any] = {}) -> None:
        """Metrics and params. A param keeps its first value (MLflow's are immutable), of a metric the last counts."""
        now = int(time.time() * 1000)
        if metrics:
            rows = [{"key": k, "value": float(v), "timestamp": now, "step": 0} for k, v in metrics.items()]
            self._post("runs/log-batch", run_id=run_id, metrics=rows)
        if params:
            run = self._post("runs/get", method="GET", run_id=run_id)["run"]
            known = {p["key"] for p in run["data"].get("params") or ()}
            new = [{"key": k, "value": str(v)[:MAX_PARAM]} for k, v in params.items() if k not in known]
            if new:
                self._post("runs/log-batch", run_id=run_id, params=new)

    def upload(self, run_id: str, name: str, content: bytes | str) -> None:
        """A file among the run's artifacts, through the server's artifact proxy."""
        uri = str(self._post("runs/get", method="GET", run_id=run_id)["run"]["info"]["artifact_uri"])
        parts = urlsplit(uri)
        if parts.scheme != "mlflow-artifacts":
            return  # A store that only MLflow's own client can write to. The pipeline's artifacts hold the file too.
        self.write_artifact(
            f"{parts.path.lstrip('/')}/{name}", content.encode() if isinstance(content, str) else content
        )

    def _post(self, path: str, *, method: str = "POST", **fields: Any) -> dict[str, Any]:
        answer = self.call(method, path, **{k: v for k, v in fields.items() if v is not None})
        if answer is None:
            raise UnavailableError(f"the model registry does not know what {path} refers to")
        return answer


@contextmanager
def step_run(tracking: Tracking, run: RunContext, step: str) -> Iterator[str]:
    """The nested run of one step below the pipeline's run; FAILED with the error in one line when the step raises."""
    pipeline_run = tracking.find_run(run.run_key, PIPELINE_STEP)
    parent = None if pipeline_run is None else id_of(pipeline_run)
    tags = {"error": "", ATTEMPT_TAG: run.pipeline_run}
    run_id = tracking.start_run(run.run_key, step, step, tags, parent)
    if page := links.mlflow_run({"MLFLOW_TRACKING_URI": tracking.uri}, tracking.experiment(), run_id):
        print(f"MLflow: {page}", flush=True)
    try:
        yield run_id
    except BaseException as error:
        try:
            tracking.tag_run(run_id, "error", describe_error(error))
            tracking.end_run(run_id, "FAILED")
        except UnavailableError:
            pass  # the step's own error matters more
        raise
    tracking.end_run(run_id, "FINISHED")


def tags_of(run: Mapping[str, Any] | None) -> dict[str, str]:
    """The tags of a run as the REST API gives it; of None, none."""
    return {tag["key"]: tag["value"] for tag in ((run or {}).get("data") or {}).get("tags") or ()}


def id_of(run: Mapping[str, Any]) -> str:
    return str(run["info"]["run_id"])
