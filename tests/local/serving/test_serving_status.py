"""What Knative and KServe report in each state, as it was read from a real cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from serving_cases import inference_service, knative_service

from local.serving.conditions import Condition, merge_conditions, ready_condition
from local.serving.inference_status import inference_status, invalid_status
from local.serving.replica_pool import PoolStatus
from local.serving.service_status import revision_status, service_readiness, service_status
from local.serving.traffic import ComponentRevisions, knative_targets

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
STARTING = PoolStatus(False, "", "", 0, 1)
READY = PoolStatus(True, "", "", 1, 1)
ASLEEP = PoolStatus(True, "", "", 0, 0)
WAKING = PoolStatus(True, "", "", 0, 1)
BROKEN = PoolStatus(False, "", "exited with status 3: no model", 0, 1, exit_code=3, last_output="no model")
GIVEN_UP = PoolStatus(False, "exited with status 3: no model", "", 0, 0, exit_code=3, last_output="no model")
LATE = PoolStatus(False, "was not ready within 60 s", "", 0, 0)
NO_MODEL = PoolStatus(False, "", "404 not found", 0, 1)
UNKNOWN_DEPLOYING = ("Unknown", "Deploying", "")
WAITING = 'Configuration "m-predictor" is waiting for a Revision to become ready.'


def reported(status: dict[str, Any]) -> dict[str, Any]:
    """(status, reason, message) by type, with the severity where it has one."""
    return {
        c["type"]: (c["status"], c.get("reason", ""), c.get("message", ""), *filter(None, [c.get("severity")]))
        for c in status["conditions"]
    }


def revision(number: int, pool: PoolStatus | None = None, service: str = "m-predictor") -> dict[str, Any]:
    name = f"{service}-{number:05d}"
    labels = {"serving.knative.dev/configurationGeneration": str(number)}
    item = {"metadata": {"name": name, "labels": labels, "generation": 1}, "spec": {"containers": [{"name": "c"}]}}
    return {**item, "status": revision_status(item, pool, NOW, "log")} if pool else item


@pytest.mark.parametrize(
    ("pool", "ready", "healthy", "available", "active", "replicas"),
    [
        (None, UNKNOWN_DEPLOYING, UNKNOWN_DEPLOYING, UNKNOWN_DEPLOYING, UNKNOWN_DEPLOYING, (0, None)),
        (STARTING, UNKNOWN_DEPLOYING, UNKNOWN_DEPLOYING, UNKNOWN_DEPLOYING, ("Unknown", "Queued"), (0, None)),
        (READY, ("True", "", ""), ("True", "", ""), ("True", "", ""), ("True", ""), (1, 1)),
        (ASLEEP, ("True", "", ""), ("True", "", ""), ("True", "", ""), ("False", "NoTraffic"), (0, 0)),
        (WAKING, ("True", "", ""), ("True", "", ""), ("True", "", ""), ("Unknown", "Queued"), (0, 1)),
        (
            BROKEN,
            ("False", "ExitCode3", "Container failed with: no model"),
            ("False", "ExitCode3", "Container failed with: no model"),
            UNKNOWN_DEPLOYING,
            ("Unknown", "Queued"),
            (0, None),
        ),
        (
            LATE,
            ("False", "ProgressDeadlineExceeded", "Initial scale was never achieved: was not ready within 60 s"),
            UNKNOWN_DEPLOYING,
            ("False", "ProgressDeadlineExceeded", "Initial scale was never achieved: was not ready within 60 s"),
            ("False", "NoTraffic"),
            (0, 0),
        ),
    ],
)
def test_a_revision(pool: Any, ready: Any, healthy: Any, available: Any, active: Any, replicas: Any) -> None:
    status = revision_status(revision(1), pool, NOW, "log")
    by_type = reported(status)
    assert (by_type["Ready"], by_type["ContainerHealthy"], by_type["ResourcesAvailable"]) == (ready, healthy, available)
    assert by_type["Active"][: len(active)] == active[:3]
    assert by_type["Active"][-1] == "Info"
    assert (status["actualReplicas"], status.get("desiredReplicas")) == replicas
    assert status["containerStatuses"] == [{"name": "c"}]


def test_a_revision_that_was_ready_stays_so_while_nobody_looks_after_it() -> None:
    status = revision_status(revision(1, READY), None, LATER, "log")
    assert reported(status)["Ready"] == ("True", "", "")


def test_a_condition_moves_with_anything_it_says() -> None:
    first = merge_conditions((), [Condition("A", "False", "One", "x"), Condition("B", "True")], NOW)
    second = merge_conditions(first, [Condition("B", "True"), Condition("A", "False", "One", "x")], LATER)
    assert second == first
    moved = merge_conditions(first, [Condition("A", "False", "One", "y"), Condition("B", "True")], LATER)
    assert [condition["lastTransitionTime"] for condition in moved] == [LATER, NOW]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("True", ""), ("True", "")], ("True", "")),
        ([("Unknown", "a"), ("True", "")], ("Unknown", "a")),
        ([("False", "a"), ("Unknown", "b")], ("False", "a")),
        ([("False", "a"), ("False", "b")], ("False", "b")),
        ([("Unknown", "a"), ("Unknown", "b")], ("Unknown", "b")),
    ],
)
def test_ready_of_parts(parts: Any, expected: Any) -> None:
    condition = ready_condition(*(Condition(f"P{place}", *part) for place, part in enumerate(parts)))
    assert (condition.type, condition.status, condition.reason) == ("Ready", *expected)


LATEST = {"latestRevision": True, "percent": 100, "tag": "latest"}
CANARY = [{**LATEST, "percent": 10}, {"revisionName": "m-predictor-00001", "percent": 90, "tag": "prev"}]


def service(
    revisions: list[dict[str, Any]],
    traffic: Sequence[dict[str, Any]] = (LATEST,),
    labels: dict[str, str] | None = None,
    name: str = "m-predictor",
) -> dict[str, Any]:
    """A Knative Service with its status; its routes are those that its revisions allow."""
    item = knative_service(name)
    item["metadata"] |= {"generation": 1, "labels": labels or {}}
    item["spec"]["traffic"] = list(traffic)
    ready = {
        one["metadata"]["name"]
        for one in revisions
        if "status" in one and reported(one["status"])["Ready"][0] == "True"
    }
    targets = knative_targets(traffic, max(ready, default=""), frozenset(ready))
    readiness = service_readiness(item, revisions, targets)
    return {**item, "status": service_status(item, readiness, "example.com", NOW)}


FAILED = 'Revision "m-predictor-00002" failed with message: Container failed with: no model.'


@pytest.mark.parametrize(
    ("revisions", "traffic", "ready", "configurations", "routes"),
    [
        ([], [LATEST], ("Unknown", ""), ("Unknown", ""), ("Unknown", "")),
        ([revision(1, STARTING)], [LATEST], ("Unknown", WAITING), ("Unknown", ""), ("Unknown", WAITING)),
        (
            [revision(1, BROKEN)],
            [LATEST],
            ("False", 'Configuration "m-predictor" does not have any ready Revision.'),
            ("False", FAILED.replace("00002", "00001")),
            ("False", 'Configuration "m-predictor" does not have any ready Revision.'),
        ),
        ([revision(1, READY)], [LATEST], ("True", ""), ("True", ""), ("True", "")),
        ([revision(1, READY), revision(2, STARTING)], CANARY, ("Unknown", ""), ("Unknown", ""), ("True", "")),
        ([revision(1, READY), revision(2, BROKEN)], CANARY, ("False", FAILED), ("False", FAILED), ("True", "")),
        ([revision(1, ASLEEP), revision(2, READY)], CANARY, ("True", ""), ("True", ""), ("True", "")),
        (
            [revision(1, READY)],
            [{"revisionName": "gone", "percent": 100}],
            ("False", 'Revision "gone" referenced in traffic not found.'),
            ("True", ""),
            ("False", 'Revision "gone" referenced in traffic not found.'),
        ),
        (
            [revision(1, READY), revision(2, STARTING)],
            [{"revisionName": "m-predictor-00002", "percent": 100}],
            ("Unknown", 'Revision "m-predictor-00002" is not yet ready.'),
            ("Unknown", ""),
            ("Unknown", 'Revision "m-predictor-00002" is not yet ready.'),
        ),
    ],
)
def test_a_knative_service(revisions: Any, traffic: Any, ready: Any, configurations: Any, routes: Any) -> None:
    by_type = reported(service(revisions, traffic)["status"])
    actual = [(by_type[type][0], by_type[type][2]) for type in ("Ready", "ConfigurationsReady", "RoutesReady")]
    assert actual == [ready, configurations, routes]


def test_the_addresses_of_a_knative_service() -> None:
    first = service([revision(1, STARTING)])["status"]
    assert first["url"] == "http://m-predictor.default.example.com"
    assert "traffic" not in first
    assert "address" not in first
    public = service([revision(1, READY)])["status"]
    assert public["traffic"] == [
        {
            "latestRevision": True,
            "percent": 100,
            "revisionName": "m-predictor-00001",
            "tag": "latest",
            "url": "http://latest-m-predictor.default.example.com",
        }
    ]
    inside = "http://m-predictor.default.svc.cluster.local"
    assert public["address"] == {"url": inside}
    private = service([revision(1, READY)], labels={"networking.knative.dev/visibility": "cluster-local"})["status"]
    assert private["url"] == inside
    assert private["traffic"][0]["url"] == "http://latest-m-predictor.default.svc.cluster.local"


def isvc(status: dict[str, Any] | None = None) -> dict[str, Any]:
    item = inference_service("m")
    return {**item, "metadata": {**item["metadata"], "generation": 9}, **({"status": status} if status else {})}


RUNTIME = {"kind": "ServingRuntime", "metadata": {"name": "rt"}}


def seen(
    before: dict[str, Any] | None,
    revisions: list[dict[str, Any]],
    pool: PoolStatus | None,
    rollout: ComponentRevisions,
    traffic: Sequence[dict[str, Any]] = (LATEST,),
    now: str = NOW,
) -> dict[str, Any]:
    """The InferenceService's status after KServe looked at its Knative Service and the newest revision's replicas."""
    return inference_status(isvc(before), rollout, service(revisions, traffic)["status"], pool, RUNTIME, now)


FIRST = ComponentRevisions("m-predictor-00001", "m-predictor-00001", "m-predictor-00001", "")
SECOND = ComponentRevisions("m-predictor-00002", "m-predictor-00002", "m-predictor-00001", "")
STUCK = ComponentRevisions("m-predictor-00001", "m-predictor-00002", "m-predictor-00001", "")
INFO = ("True", "", "", "Info")
ALL_TRUE = {
    "IngressReady": ("True", "", ""),
    "LatestDeploymentReady": INFO,
    "PredictorConfigurationReady": INFO,
    "PredictorReady": ("True", "", ""),
    "PredictorRouteReady": INFO,
    "Ready": ("True", "", ""),
    "RoutesReady": INFO,
    "Stopped": ("False", "", "", "Info"),
}


def model(status: dict[str, Any]) -> tuple[Any, ...]:
    """(transition, active state, target state, copies, last failure) of modelStatus."""
    actual = status["modelStatus"]
    assert actual["copies"]["failedCopies"] == 0
    states = actual["states"]
    return (
        actual["transitionStatus"],
        states["activeModelState"],
        states["targetModelState"],
        actual["copies"].get("totalCopies"),
        actual.get("lastFailureInfo"),
    )


def test_an_inference_service_at_its_first_start() -> None:
    actual = seen(None, [revision(1, STARTING)], STARTING, ComponentRevisions("", "m-predictor-00001", "", ""))
    waiting = ("Unknown", "RevisionMissing", WAITING)
    assert reported(actual) == {
        "IngressReady": ("Unknown", "", ""),
        "LatestDeploymentReady": ("Unknown", "PredictorConfigurationReady not ready", "", "Info"),
        "PredictorConfigurationReady": ("Unknown", "", "", "Info"),
        "PredictorReady": waiting,
        "PredictorRouteReady": (*waiting, "Info"),
        "Ready": waiting,
        "RoutesReady": ("Unknown", "PredictorRouteReady not ready", "", "Info"),
        "Stopped": ("False", "", "", "Info"),
    }
    assert actual["components"] == {"predictor": {"latestCreatedRevision": "m-predictor-00001"}}
    assert (actual["deploymentMode"], actual["servingRuntimeName"]) == ("Knative", "rt")
    assert "url" not in actual
    assert model(actual) == ("InProgress", "", "Pending", None, None)
    loading = seen(None, [revision(1, STARTING)], PoolStatus(False, "", "", 0, 1, preparing=True), ComponentRevisions())
    assert model(loading)[0::2] == ("InProgress", "Loading", None)


def test_an_inference_service_that_serves() -> None:
    actual = seen(None, [revision(1, READY)], READY, FIRST)
    assert reported(actual) == ALL_TRUE
    url, address = "http://m-predictor.default.example.com", {"url": "http://m-predictor.default.svc.cluster.local"}
    assert (actual["url"], actual["address"]) == (url, address)
    part = actual["components"]["predictor"]
    assert (part["url"], part["address"], part["latestRolledoutRevision"]) == (url, address, "m-predictor-00001")
    assert "previousRolledoutRevision" not in part
    assert model(actual) == ("UpToDate", "Loaded", "Loaded", 1, None)
    assert actual["observedGeneration"] == 1, "the Knative Service's, not its own"


def test_an_inference_service_with_a_canary() -> None:
    before = seen(None, [revision(1, READY)], READY, FIRST)
    actual = seen(before, [revision(1, ASLEEP), revision(2, READY)], READY, SECOND, CANARY)
    assert reported(actual) == ALL_TRUE
    part = actual["components"]["predictor"]
    assert [(item["percent"], item["tag"], item["latestRevision"], item["url"]) for item in part["traffic"]] == [
        (10, "latest", True, "http://latest-m-predictor.default.example.com"),
        (90, "prev", False, "http://prev-m-predictor.default.example.com"),
    ]
    assert (part["latestReadyRevision"], part["latestRolledoutRevision"]) == ("m-predictor-00002", "m-predictor-00001")


@pytest.mark.parametrize(
    ("pool", "info"),
    [
        (BROKEN, {"exitCode": 3, "message": "no model", "reason": "ModelLoadFailed"}),
        (NO_MODEL, {"exitCode": 1, "message": "404 not found", "reason": "ModelLoadFailed"}),
    ],
)
def test_a_new_version_that_fails_and_what_stays_of_it(pool: Any, info: Any) -> None:
    before = seen(None, [revision(1, READY)], READY, FIRST)
    failed = seen(before, [revision(1, READY), revision(2, pool)], pool, STUCK, CANARY, LATER)
    assert model(failed) == ("BlockedByFailedLoad", "Loaded", "FailedToLoad", None, info)
    by_type, broken = reported(failed), pool is BROKEN
    assert by_type["Ready"][0] == by_type["PredictorReady"][0] == ("False" if broken else "Unknown")
    assert by_type["LatestDeploymentReady"][1] == "PredictorConfigurationReady not ready"
    assert by_type["IngressReady"] == ("True", "", ""), "there is a URL; KServe does not look further"
    assert failed["url"] == before["url"], "it is kept while nothing is ready"
    well = seen(failed, [revision(1, READY), revision(2, READY)], READY, SECOND, CANARY, LATER)
    assert model(well) == ("UpToDate", "Loaded", "Loaded", 1, info), "the failure stays after a recovery"


def test_one_that_was_given_up_is_no_longer_pending() -> None:
    failed = seen(None, [revision(1, GIVEN_UP)], GIVEN_UP, ComponentRevisions("", "m-predictor-00001", "", ""))
    assert model(failed)[:3] == ("BlockedByFailedLoad", "", "FailedToLoad")


def test_sleep_changes_nothing_that_kserve_sees_until_something_else_does() -> None:
    awake = seen(None, [revision(1, READY)], READY, FIRST)
    asleep = seen(awake, [revision(1, ASLEEP)], ASLEEP, FIRST, now=LATER)
    assert asleep == awake
    moved = seen(awake, [revision(1, ASLEEP), revision(2, ASLEEP)], ASLEEP, SECOND, CANARY, LATER)
    assert model(moved) == ("InProgress", "Loaded", "Pending", None, None)
    woken = seen(moved, [revision(1, ASLEEP), revision(2, READY)], READY, SECOND, CANARY, LATER)
    assert model(woken) == ("UpToDate", "Loaded", "Loaded", 1, None)


def test_an_inference_service_that_cannot_be_rendered() -> None:
    new = invalid_status(isvc(), "NoSupportingRuntime", "no ServingRuntime", NOW)
    assert {type: by_type[0] for type, by_type in reported(new).items()} == dict.fromkeys(
        ("IngressReady", "PredictorReady", "Ready"), "Unknown"
    )
    info = {"reason": "NoSupportingRuntime", "message": "no ServingRuntime"}
    assert new["modelStatus"]["lastFailureInfo"] == info
    serving = seen(None, [revision(1, READY)], READY, FIRST)
    broken = invalid_status(isvc(serving), "NoSupportingRuntime", "no ServingRuntime", LATER)
    assert reported(broken) == ALL_TRUE, "what serves goes on, and KServe's Ready with it"
    assert model(broken) == ("InvalidSpec", "Loaded", "FailedToLoad", 1, info)


def test_the_runtime_that_is_named() -> None:
    cluster = {"kind": "ClusterServingRuntime", "metadata": {"name": "c"}}
    status = service([revision(1, READY)])["status"]
    actual = inference_status(isvc(), FIRST, status, READY, cluster, NOW)
    assert actual["clusterServingRuntimeName"] == "c"
    assert "servingRuntimeName" not in actual
    assert not {"servingRuntimeName", "clusterServingRuntimeName"} & set(
        inference_status(isvc(), FIRST, status, READY, None, NOW)
    )
