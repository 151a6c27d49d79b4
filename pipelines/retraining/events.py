"""The events that the pipeline sends. Ids are made of the run key, so a repeated run sends the same event again."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from common import event_types
from common.event_types import SOURCE_PIPELINE
from common.gate_tag import GateTag
from common.names import PIPELINE
from functions.events import Event
from functions.reasons import InitiatedBy
from functions.sink import Sink, cdevent, digest
from pipelines.quality_gate import GATE_CODES, Check


def started(run_key: str, trace: str, link: str, **custom: Any) -> Event:
    """`link`: the run's page."""
    return _event(event_types.PIPELINERUN_STARTED, run_key, {"pipelineName": PIPELINE, "uri": link}, trace, **custom)


def gate_decided(run_key: str, trace: str, tag: GateTag, checks: Sequence[Check], **custom: Any) -> Event:
    """The gate's verdict. To CDEvents an inconclusive one is a failure; customData has the verdict itself.

    customData also holds the verdict's reason code, and name, verdict, code and reason of each check.
    """
    content = {
        "outcome": "success" if tag.verdict == "pass" else "failure",
        "environment": {"id": "pipeline", "source": SOURCE_PIPELINE},
        "testSuite": {"id": "gate", "name": "challenger against champion"},
        "reason": tag.encode(),
    }
    decision = {
        "verdict": tag.verdict,
        "reason_code": GATE_CODES[tag.verdict],
        "initiated_by": InitiatedBy.QUALITY_GATE,
        "checks": [{"name": c.name, "verdict": c.verdict, "code": c.code, "reason": c.reason} for c in checks],
    }
    return _event(event_types.TESTSUITERUN_FINISHED, run_key, content, trace, **decision, **custom)


def published(run_key: str, trace: str, model: str, version: str, **custom: Any) -> Event:
    """A version was registered."""
    purl = f"pkg:mlflow/{quote(model)}@{version}"
    key = digest(event_types.ARTIFACT_PUBLISHED, run_key)
    return cdevent(
        event_types.ARTIFACT_PUBLISHED, SOURCE_PIPELINE, key, purl, {}, time.time(), trace,
        model=model, version=version, run_key=run_key, **custom,
    )  # fmt: skip


def finished(run_key: str, trace: str, outcome: str, errors: str, **custom: Any) -> Event:
    """`outcome`: success (a version was registered), failure (the gate did not pass it), or error (the run broke).

    A run that broke and is repeated ends a second time, so the outcome is part of the event's id.
    """
    content = {"pipelineName": PIPELINE, "outcome": outcome} | ({"errors": errors} if errors else {})
    return _event(event_types.PIPELINERUN_FINISHED, run_key, content, trace, (outcome, errors), **custom)


def send(event: Event, environ: Mapping[str, str] = os.environ) -> None:
    """To the address in K_SINK; UnavailableError when the receiver does not accept it."""
    Sink(environ).send(event)


def _event(type: str, run_key: str, content: Mapping[str, Any], trace: str, more: Any = None, **custom: Any) -> Event:
    key = digest(type, run_key) if more is None else digest(type, run_key, more)
    return cdevent(type, SOURCE_PIPELINE, key, run_key, content, time.time(), trace or None, **custom)
