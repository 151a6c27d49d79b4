"""Which retraining a run is when its parameters do not say: people start runs without any in Kubeflow's user interface.

A run without a key gets one made of model, champion and data, so that the same data never makes two versions. Without
usable data it gets a key of its own, so that there is a record that says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from common.environment import text
from common.names import CHAMPION, MODEL
from functions.sink import traceparent
from pipelines.registration.tracking import Tracking, tags_of
from pipelines.run_context import RunContext

DEFAULT_REASON = "started without a drift"
_RECORDED = ("run_key", "model", "champion", "reason", "traceparent", "drift_event")


def with_model(run: RunContext, environ: Mapping[str, str]) -> RunContext:
    """The run with the model of the environment where it does not name one."""
    return run if run.model else replace(run, model=text(environ, "MCQA_REGISTERED_MODEL", MODEL))


def recorded_tags(tracking: Tracking, run: RunContext) -> dict[str, str]:
    """The tags of this run's record in MLflow; empty before it has begun."""
    return tags_of(tracking.find_attempt(run.pipeline_run))


def with_recorded(run: RunContext, tags: Mapping[str, str]) -> RunContext:
    """The run with what it lacks taken from its record's tags."""
    return run.filled({name: tags.get(name, "") for name in _RECORDED})


def with_champion(run: RunContext, tracking: Tracking) -> RunContext:
    """The run with the version that has the alias champion where it does not name one; "" when none has."""
    if run.champion:
        return run
    model = tracking.model()
    return replace(run, champion=model.aliases.get(CHAMPION, "") if model else "")


def with_key(run: RunContext, key: str) -> RunContext:
    """The run under this key, with a trace of its own and a reason where it has none."""
    return replace(run, run_key=key).filled({"traceparent": traceparent(key), "reason": DEFAULT_REASON})


def key_of_data(model: str, champion: str, data_digest: str) -> str:
    """64 hex digits."""
    return hashlib.sha256(json.dumps(["data", model, champion, data_digest]).encode()).hexdigest()


def key_of_run(pipeline_run: str) -> str:
    """64 hex digits."""
    return hashlib.sha256(json.dumps(["run", pipeline_run]).encode()).hexdigest()
