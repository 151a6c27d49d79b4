"""Every CDEvent that the loop emits, against the specification's own schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from common import event_types
from common.gate_tag import GateTag
from functions.events import Event
from functions.reasons import InitiatedBy, Reason
from functions.retrain import announce as retrain
from functions.rollout import announce as rollout
from functions.rollout import settings as rollout_settings
from functions.rollout.reasons import ReasonCode
from pipelines.quality_gate import Check, CheckCode
from pipelines.retraining import events as pipeline

SCHEMAS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "cdevents"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LINK = "http://pipelines.test/#/runs/details/1"


@pytest.fixture(scope="module")
def schemas() -> dict[str, jsonschema.Draft202012Validator]:
    """Validators by event type."""
    if not SCHEMAS.is_dir():
        pytest.skip("the reference data is not beside the checkout")
    links = {
        path.stem: Resource.from_contents(json.loads(path.read_text())) for path in (SCHEMAS / "links").glob("*.json")
    }
    registry = Registry().with_resources([(resource.id() or name, resource) for name, resource in links.items()])
    validators = {}
    for path in SCHEMAS.glob("*.json"):
        schema = json.loads(path.read_text())
        (type,) = schema["properties"]["context"]["properties"]["type"]["enum"]
        validators[type] = jsonschema.Draft202012Validator(schema, registry=registry)
    return validators


def row(kind: str, **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "announces": kind, "challenger": "7", "champion": "6", "number": 3, "model": "m",
        "at": 1.5, "phase": "step", "percent": 10, "evidence": None, "trace": TRACE,
        **Reason(ReasonCode.ABORTED, initiated_by=InitiatedBy.OPERATOR).to_columns(),
    }  # fmt: skip
    return {**base, **more}


def announced() -> Iterator[Event]:
    settings = rollout_settings.read_settings({})
    for kind in ("deployed", "upgraded", "rolled-back", "aborted", "held", "stuck"):
        yield from rollout.announce(row(kind), settings)
    yield pipeline.started("k", TRACE, LINK)
    check = Check("improvement", "inconclusive", CheckCode.TOO_FEW_QUESTIONS, "too few questions")
    yield pipeline.gate_decided("k", TRACE, GateTag("inconclusive", "too few questions"), [check])
    yield pipeline.published("k", TRACE, "coding-mcqa", "7")
    for outcome in ("success", "failure", "error"):
        yield pipeline.finished("k", TRACE, outcome, "what broke" if outcome == "error" else "")
    run: Any = SimpleNamespace(
        key="k", model="m", champion="6", reason="drift", traceparent=TRACE, state="failed", attempt=2, run_id="r",
        version=None, error="it broke", created_at=1.0, updated_at=2.0, started_at=1.5, finished_at=2.0, posted_at=1.2,
        announced=0, reason_code="run-failed", initiated_by="drift", drift_source="/d",
        drift_id="1", since=0.0, parameters={},
    )  # fmt: skip
    yield from (event for event in retrain.events_of(run, LINK) if event is not None)


def test_each_is_what_its_schema_says(schemas: dict[str, jsonschema.Draft202012Validator]) -> None:
    seen = set()
    for event in announced():
        seen.add(event.type)
        if event.type in schemas:
            schemas[event.type].validate(json.loads(event.data))
    ours = {
        value for value in vars(event_types).values() if isinstance(value, str) and value.startswith("dev.cdevents.")
    }
    assert seen == ours
