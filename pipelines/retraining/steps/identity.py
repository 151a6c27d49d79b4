"""Which retraining a run is, also where its parameters do not say: Kubeflow's own schedules and people start it bare.

A run without a key gets the one of model, champion and data, so that the same data never makes two versions. Where
there are not even data it gets one of its own, to have a record that says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from common.environment import text
from common.names import CHAMPION, MODEL
from functions.sink import traceparent
from pipelines.registration.tracking import Tracking, tags_of

REASON = "started without a drift"
NAMED = ("run_key", "model", "champion", "reason", "traceparent", "drift_event")


def model_of(run: Mapping[str, str], environ: Mapping[str, str]) -> str:
    return run["model"] or text(environ, "MCQA_REGISTERED_MODEL", MODEL)


def recorded(tracking: Tracking, run: Mapping[str, str]) -> dict[str, str]:
    """What the record of this run of the pipeline says already: its tags, none before it has begun."""
    return tags_of(tracking.find_attempt(run["pipeline_run"]))


def complete(run: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """The run with whatever it does not say taken from its record's tags."""
    return {name: value or (tags.get(name, "") if name in NAMED else "") for name, value in run.items()}


def champion_of(tracking: Tracking) -> str:
    """The version that has the alias; "" without one."""
    model = tracking.model()
    return model.aliases.get(CHAMPION, "") if model else ""


def named(run: Mapping[str, str], key: str) -> dict[str, str]:
    """The run under this key, with a trace of its own and a reason where it has none."""
    return {
        **run,
        "run_key": key,
        "traceparent": run["traceparent"] or traceparent(key),
        "reason": run["reason"] or REASON,
    }


def key_of_data(model: str, champion: str, data_digest: str) -> str:
    """64 hex digits."""
    return hashlib.sha256(json.dumps(["data", model, champion, data_digest]).encode()).hexdigest()


def key_of_run(pipeline_run: str) -> str:
    """64 hex digits."""
    return hashlib.sha256(json.dumps(["run", pipeline_run]).encode()).hexdigest()
