"""Who consumes which type: decided from the Triggers' filters, and the same as what the broker does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_loop import small_loop, triggers

from common.event_types import (
    CATALOGUE,
    DRIFT_CHECKED,
    DRIFT_DETECTED,
    FEEDBACK,
    INCIDENT_DETECTED,
    INFERENCE_REQUEST,
    PING,
    RETRAINING_REQUESTED,
    ROLLOUT_REQUESTED,
)
from local.broker.cloudevent import CloudEvent
from local.broker.filters import parse_filters
from mcqa.readmodels import event_flow
from mcqa.readmodels.event_flow import Subscription, passes

ENTRY = {entry.type: entry for entry in CATALOGUE}


def applied() -> list[Subscription]:
    return [event_flow._subscription(item) for item in triggers()]


@pytest.mark.parametrize(
    ("type", "consumers"),
    [
        (INFERENCE_REQUEST, {"collect": "all"}),
        (FEEDBACK, {"collect": "all"}),
        (DRIFT_CHECKED, {}),
        (DRIFT_DETECTED, {"notify": "all", "retrain": "all"}),
        (RETRAINING_REQUESTED, {"retrain": "all"}),
        (ROLLOUT_REQUESTED, {"rollout": "all"}),
        (INCIDENT_DETECTED, {"notify": "all"}),
        (PING, {"collect": "some", "drift": "some", "retrain": "some", "rollout": "some"}),
    ],
)
def test_the_loop_s_own_triggers(type: str, consumers: dict[str, str]) -> None:
    flow = {item["type"]: item for item in event_flow.flow(applied(), "")["types"]}
    assert {consumer["subscriber"]: consumer["share"] for consumer in flow[type]["consumers"]} == consumers


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.type)
def test_what_is_said_is_what_the_broker_does(entry: Any) -> None:
    sources = [source for source in entry.producers if source.startswith("/")]
    for subscription in applied():
        matches = parse_filters(subscription.spec)
        for source in sources:
            event = CloudEvent({"specversion": "1.0", "id": "1", "source": source, "type": entry.type})
            share = passes(subscription.spec, entry)
            assert matches.matches(event) is (share is not None) or share == "some"


@pytest.mark.parametrize(
    ("spec", "share"),
    [
        ({}, "all"),
        ({"filter": {"attributes": {"type": DRIFT_CHECKED}}}, "all"),
        ({"filter": {"attributes": {"type": "other"}}}, None),
        ({"filter": {"attributes": {"subject": ""}}}, "some"),
        ({"filters": [{"not": {"exact": {"type": DRIFT_CHECKED}}}]}, None),
        ({"filters": [{"all": [{"prefix": {"type": "dev."}}, {"suffix": {"source": "/drift"}}]}]}, "all"),
        ({"filters": [{"cesql": "type = 'x'"}]}, "some"),
        ({"filters": [{"any": [{"exact": {"type": "x"}}, {"exact": {"region": "y"}}]}]}, "some"),
    ],
)
def test_filters(spec: dict[str, Any], share: str | None) -> None:
    assert passes(spec, ENTRY[DRIFT_CHECKED]) == share


def test_without_an_api_the_producers_are_known() -> None:
    flow = event_flow.read({"KUBECONFIG": "/nowhere/kubeconfig"})
    assert flow["error"]
    assert [item["consumers"] for item in flow["types"]] == [[]] * len(CATALOGUE)


@pytest.mark.usefixtures("processes")
def test_the_triggers_are_read_from_the_api(tmp_path: Path) -> None:
    with small_loop(tmp_path / "loop") as loop, loop.serve_triggers():
        read = event_flow.read(loop.environ)
    assert (read, read["error"]) == (event_flow.flow(applied(), ""), "")
