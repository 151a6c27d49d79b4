"""What the pipeline tells the loop. Ids come from the run key, so a run that is repeated says the same once."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from common import event_types
from common.event_types import SOURCE_PIPELINE
from functions.events import Event
from functions.sink import Sink, cdevent, digest
from pipelines.retraining import PIPELINE


def started(run_key: str, trace: str, link: str, **custom: Any) -> Event:
    """`link`: the run's page."""
    return _event(event_types.PIPELINERUN_STARTED, run_key, {"pipelineName": PIPELINE, "uri": link}, trace, **custom)


def gated(run_key: str, trace: str, verdict: str, reason: str, **custom: Any) -> Event:
    """`verdict` as the gate's; an inconclusive one is a failure to CDEvents, and customData tells them apart."""
    content = {
        "outcome": "success" if verdict == "pass" else "failure",
        "environment": {"id": "pipeline", "source": SOURCE_PIPELINE},
        "testSuite": {"id": "gate", "name": "challenger against champion"},
        "reason": reason,
    }
    return _event(event_types.TESTSUITERUN_FINISHED, run_key, content, trace, verdict=verdict, **custom)


def published(run_key: str, trace: str, model: str, version: str, **custom: Any) -> Event:
    purl = f"pkg:mlflow/{quote(model)}@{version}"
    key = digest(event_types.ARTIFACT_PUBLISHED, run_key)
    return cdevent(
        event_types.ARTIFACT_PUBLISHED, SOURCE_PIPELINE, key, purl, {}, time.time(), trace,
        model=model, version=version, run_key=run_key, **custom,
    )  # fmt: skip


def finished(run_key: str, trace: str, outcome: str, errors: str, **custom: Any) -> Event:
    """`outcome`: success (a version was registered), failure (the gate said no), or error (the run broke).

    A run that broke and is run again ends another time: the outcome is part of the event's id.
    """
    content = {"pipelineName": PIPELINE, "outcome": outcome} | ({"errors": errors} if errors else {})
    return _event(event_types.PIPELINERUN_FINISHED, run_key, content, trace, (outcome, errors), **custom)


def send(event: Event, environ: Mapping[str, str] = os.environ) -> None:
    """To the address in K_SINK; UnavailableError when it does not take it."""
    Sink(environ).send(event)


def _event(type: str, run_key: str, content: Mapping[str, Any], trace: str, more: Any = None, **custom: Any) -> Event:
    key = digest(type, run_key) if more is None else digest(type, run_key, more)
    return cdevent(type, SOURCE_PIPELINE, key, run_key, content, time.time(), trace or None, **custom)
