"""What the reconciler sees of the Kubernetes objects, as a table."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from common.annotations import MODEL_VERSION_ANNOTATION
from functions.rollout.observed_state import observe_serving
from functions.rollout.state import ServingState

TRAFFIC = [
    {"latestRevision": True, "percent": 10, "revisionName": "m-predictor-00002"},
    {"latestRevision": False, "percent": 90, "revisionName": "m-predictor-00001", "tag": "prev"},
]


def revision(version: str, message: str = "") -> dict[str, Any]:
    ready = {"type": "Ready", "status": "False" if message else "True", "message": message}
    return {"metadata": {"annotations": {MODEL_VERSION_ANNOTATION: version}}, "status": {"conditions": [ready]}}


def objects() -> dict[str, Any]:
    """ModelVersion 2 at 10% next to version 1, all controllers done."""
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
    observed = copy.deepcopy(objects())
    for path, value in changes.items():
        put(observed, path, value)
    seen = {"version": "2", "percent": 10, "settled": True, "ready": True, "rolled_out": False, "stable_version": "1"}
    assert observe_serving("m", **observed) == ServingState(**{**seen, **difference})


def test_a_revision_that_is_not_ready_and_one_that_is_rolled_out() -> None:
    observed = objects()
    for status in (observed["isvc"]["status"]["components"]["predictor"], observed["service"]["status"]):
        for name in [name for name in status if name.startswith("latestReady")]:
            status[name] = "m-predictor-00001"
    seen = observe_serving("m", **observed)
    assert (seen.settled, seen.ready) == (True, False)
    observed = objects()
    observed["isvc"]["status"]["components"]["predictor"]["latestRolledoutRevision"] = "m-predictor-00002"
    assert observe_serving("m", **observed).rolled_out
