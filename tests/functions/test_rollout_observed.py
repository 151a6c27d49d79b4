"""What the reconciler sees of the Kubernetes objects, and what it announces: pure parts, by tables."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from common.annotations import MODEL_VERSION_ANNOTATION
from common.errors import SettingError
from functions.events import Event, parse_json
from functions.notify.message import build
from functions.rollout.announce import announce, kind_of
from functions.rollout.decision import Config
from functions.rollout.observed import observe_serving
from functions.rollout.reconcile import identity
from functions.rollout.settings import Settings, read_settings
from functions.rollout.world import (
    Decision,
    Hold,
    Record,
    Rollout,
    Serving,
    SetPercent,
    SetSpec,
    SetTag,
    StepRecord,
    Wait,
)

TRAFFIC = [
    {"latestRevision": True, "percent": 10, "revisionName": "m-predictor-00002"},
    {"latestRevision": False, "percent": 90, "revisionName": "m-predictor-00001", "tag": "prev"},
]


def revision(version: str, message: str = "") -> dict[str, Any]:
    ready = {"type": "Ready", "status": "False" if message else "True", "message": message}
    return {"metadata": {"annotations": {MODEL_VERSION_ANNOTATION: version}}, "status": {"conditions": [ready]}}


def objects() -> dict[str, Any]:
    """Version 2 at 10 % beside version 1, all controllers done."""
    part = {
        "latestCreatedRevision": "m-predictor-00002",
        "latestReadyRevision": "m-predictor-00002",
        "latestRolledoutRevision": "m-predictor-00001",
        "traffic": TRAFFIC,
    }
    predictor = {
        "annotations": {MODEL_VERSION_ANNOTATION: "2"},
        "model": {"storageUri": "mlflow://m/2"},
        "canaryTrafficPercent": 10,
    }
    service_status = {
        "observedGeneration": 9,
        "latestCreatedRevisionName": "m-predictor-00002",
        "latestReadyRevisionName": "m-predictor-00002",
        "traffic": TRAFFIC,
    }
    isvc = {"spec": {"predictor": predictor}, "status": {"observedGeneration": 9, "components": {"predictor": part}}}
    template = {"metadata": {"annotations": {MODEL_VERSION_ANNOTATION: "2"}}}
    traffic = [{"latestRevision": True, "percent": 10}, {"latestRevision": False, "percent": 90}]
    service = {
        "metadata": {"generation": 9},
        "spec": {"template": template, "traffic": traffic},
        "status": service_status,
    }
    return {"isvc": isvc, "service": service, "created": revision("2"), "stable": revision("1")}


def put(found: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for name in parents:
        found = found[name]
    found[last] = value


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    # KServe's observedGeneration is that of its Knative Service and says nothing about the InferenceService's own.
    ({"isvc/status/observedGeneration": 1}, {}),
    ({"isvc/spec/predictor/canaryTrafficPercent": 25}, {"percent": 25, "settled": False}),
    ({"isvc/spec/predictor/canaryTrafficPercent": None}, {"percent": None, "settled": False}),
    ({"service/spec/template/metadata/annotations": {MODEL_VERSION_ANNOTATION: "1"}}, {"settled": False}),
    ({"service/status/observedGeneration": 8}, {"settled": False}),
    ({"service/status/traffic": TRAFFIC[:1]}, {"settled": False}),
    ({"service/status/latestCreatedRevisionName": "m-predictor-00003"}, {"settled": False}),
    ({"created": revision("1")}, {"settled": False}),
    ({"created": None}, {"settled": False}),
    ({"service": None}, {"settled": False}),
    ({"isvc/spec/predictor/annotations": {}}, {"version": "", "settled": False}),
    ({"isvc/spec/predictor/model": {"storageUri": "mlflow://other/2"}}, {"version": ""}),
    ({"isvc/spec/predictor/model": {"storageUri": "gs://m/2"}}, {"version": ""}),
    ({"stable": None}, {"stable_version": ""}),
    ({"created": revision("2", "the model\n is broken")}, {"message": "the model is broken"}),
    ({"isvc/status": {}}, {"settled": False, "ready": False, "stable_version": None}),
]


@pytest.mark.parametrize(("changes", "difference"), CHANGES)
def test_what_is_seen(changes: dict[str, Any], difference: dict[str, Any]) -> None:
    found = copy.deepcopy(objects())
    for path, value in changes.items():
        put(found, path, value)
    seen = {"version": "2", "percent": 10, "settled": True, "ready": True, "rolled_out": False, "stable_version": "1"}
    assert observe_serving("m", **found) == Serving(**{**seen, **difference})


def test_a_revision_that_is_not_ready_and_one_that_is_rolled_out() -> None:
    found = objects()
    for status in (found["isvc"]["status"]["components"]["predictor"], found["service"]["status"]):
        for name in [name for name in status if name.startswith("latestReady")]:
            status[name] = "m-predictor-00001"
    seen = observe_serving("m", **found)
    assert (seen.settled, seen.ready) == (True, False)
    found = objects()
    found["isvc"]["status"]["components"]["predictor"]["latestRolledoutRevision"] = "m-predictor-00002"
    assert observe_serving("m", **found).rolled_out


RECORD = Rollout("7", "6", (StepRecord(0, 1.0),))
KINDS: list[tuple[Decision, str | None, list[str]]] = [
    (Decision(SetSpec("6", None), "deploying", "first"), "deployed", ["service.deployed"]),
    (Decision(Record(RECORD), "starting", "begins"), "deployed", ["service.deployed"]),
    (Decision(Record(Rollout("7", "6", (StepRecord(10, 1.0),))), "starting", "at 10 %"), None, []),
    (Decision(Record(None), "finished", "over"), None, []),
    (Decision(SetSpec("7", 0), "starting", "pin"), None, []),
    (Decision(SetPercent(10), "stepped-up", "passed"), None, []),
    (Decision(SetTag("7", "passed over 6"), "promoting", "passed"), None, []),
    (Decision(SetTag("7", "promoted over 6"), "promoting", "is champion"), "upgraded", ["service.upgraded"]),
    (
        Decision(SetTag("7", "rolled back from 6: slow"), "rolling-back", "failed at 10 %: slow"),
        "rolled-back",
        ["service.rolledback", "incident.detected"],
    ),
    (
        Decision(SetTag("7", "rolled back from 6: x"), "rolling-back", "aborted by the operator"),
        "aborted",
        ["service.rolledback"],
    ),
    (Decision(Hold(), "held", "inconclusive after 24.0 h"), "held", ["incident.detected"]),
    (Decision(Hold(), "held", "held at 10 % by the operator"), None, []),
    (Decision(Hold(), "blocked", "there is no InferenceService"), "held", ["incident.detected"]),
    (Decision(Wait(), "deploying", "not seen yet"), "stuck", ["incident.detected"]),
    (Decision(Wait(), "step", "3 min at 10 %"), None, []),
]


@pytest.mark.parametrize(("decision", "kind", "types"), KINDS)
def test_what_is_announced(decision: Decision, kind: str | None, types: list[str]) -> None:
    assert kind_of(decision) == kind
    row = {"number": 3, "model": "m", "at": 5.0, "phase": decision.phase, "reason": decision.reason, "percent": 10}
    row |= {"action": "record 0 %" if isinstance(decision.action, Record) else "", "champion": "6", "challenger": "7"}
    row |= {"announces": kind, "evidence": {"n": 1}, "trace": "00-1-2-01"}
    made = announce(row, Settings(model="m")) if kind else []
    assert [event.type.split(".", 2)[2].removesuffix(".0.3.0") for event in made] == types
    assert made == (announce(row, Settings(model="m")) if kind else []), "again the same ids"
    assert len({event.id for event in made}) == len(made)
    for event in made:
        assert event.extensions == {"traceparent": "00-1-2-01"}
        assert parse_json(event.data)["customData"]["reason"] == decision.reason
        message = build(Event(event.id, event.source, event.type, data=event.data))
        if message is None:
            assert "deployed" in event.type
        else:
            assert decision.reason in message.why


def test_reasons_that_differ_in_numbers_are_one() -> None:
    row = {"phase": "step", "action": "wait", "champion": "6", "challenger": "7", "generation": "u/1"}
    same = [{**row, "reason": reason} for reason in ("3 min at 10 %: 5 of 100", "4 min at 10 %: other words")]
    assert identity(same[0]) == identity(same[1])
    for other in ({"generation": "u/2"}, {"reason": "held at 10 % by the operator"}, {"challenger": "8"}):
        assert identity(same[0]) != identity({**same[0], **other})


def test_settings() -> None:
    found = read_settings({"MCQA_ROLLOUT_STEPS": "5, 50,100", "MCQA_ROLLOUT_MIN_REQUESTS": "20"})
    assert found.decision == Config((5, 50, 100))
    assert (found.analysis.last_percent, found.analysis.min_requests) == (50, 20)
    assert read_settings({}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MCQA_ROLLOUT_STEPS", "10,5,100", "MCQA_ROLLOUT_STEPS: steps must rise"),
        ("MCQA_ROLLOUT_STEPS", "ten", "percents separated by commas, found 'ten'"),
        ("MCQA_ROLLOUT_MIN_REQUESTS", "1.5", "whole number, found '1.5'"),
        ("MCQA_ROLLOUT_DEADLINE_SECONDS", "0", "at least 0.1, found '0'"),
    ],
)
def test_settings_that_are_not_usable(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read_settings({name: value})


def test_the_configmap_names_every_variable_with_its_default() -> None:
    from function_server import ROOT
    from yaml import safe_load

    data = safe_load((ROOT / "knative/config.yaml").read_text())["data"]
    own = {name for name in data if name.startswith("MCQA_ROLLOUT_")}
    text = (ROOT / "functions/rollout/settings.py").read_text()
    assert own == {
        word.strip('"') for word in text.replace(",", " ").replace(")", " ").split() if '"MCQA_ROLLOUT_' in word
    }
    assert read_settings(data) == Settings()
