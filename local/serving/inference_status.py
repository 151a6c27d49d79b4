"""What KServe reports of an InferenceService in Knative mode, as pure functions.

The rules are those of kserve's `inference_service_status.go` (PropagateStatus, PropagateModelStatus) with
`disableIstioVirtualHost: true`, which Knative without Istio needs: the URL is the predictor's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.kube.resources import Object
from local.serving.conditions import Condition, get_condition, merge_conditions, ready_condition
from local.serving.replica_pool import PoolStatus
from local.serving.traffic import ComponentRevisions

DEPLOYMENT_MODE = "Knative"
_MIRRORED = (
    ("PredictorRouteReady", "RoutesReady"),
    ("PredictorConfigurationReady", "ConfigurationsReady"),
)
_AGGREGATED = (("RoutesReady", "PredictorRouteReady"), ("LatestDeploymentReady", "PredictorConfigurationReady"))


def component_revisions(isvc: Object) -> ComponentRevisions:
    """The predictor's revisions as recorded in the InferenceService's own status."""
    component = _predictor(isvc.get("status") or {})
    return ComponentRevisions(
        component.get("latestReadyRevision", ""),
        component.get("latestCreatedRevision", ""),
        component.get("latestRolledoutRevision", ""),
        component.get("previousRolledoutRevision", ""),
    )


def inference_status(
    isvc: Object,
    revisions: ComponentRevisions,
    service: Mapping[str, Any],
    pool: PoolStatus | None,
    runtime: Object | None,
    now: str,
) -> dict[str, Any]:
    """Its status, from the status of its Knative Service (`service`) and the replicas of the newest revision.

    As in KServe, `observedGeneration` is the Knative Service's and says nothing about the InferenceService's own.
    """
    old = isvc.get("status") or {}
    component, known = _component(revisions, service, _predictor(old)), list(old.get("conditions") or ())
    knative = {
        type: get_condition({"status": service}, type) for type in ("Ready", "RoutesReady", "ConfigurationsReady")
    }
    predictor = knative["Ready"].with_type("PredictorReady")
    # Once the predictor has a URL there is an ingress, and KServe does not check whether it works.
    ingress = Condition("IngressReady", "True" if component.get("url") else "Unknown")
    mirrored = {type: knative[source].with_type(type, "Info") for type, source in _MIRRORED}
    aggregated = [_aggregate(type, mirrored[source]) for type, source in _AGGREGATED]
    stopped = Condition("Stopped", "False", severity="Info")
    ready = ready_condition(ingress, predictor)
    new_conditions = merge_conditions(known, [ready, predictor, ingress, stopped, *mirrored.values(), *aggregated], now)
    status: dict[str, Any] = {
        "observedGeneration": service.get("observedGeneration", 0),
        "deploymentMode": DEPLOYMENT_MODE,
        **_runtime_name(runtime),
        "conditions": new_conditions,
        "components": {"predictor": component},
    }
    if component.get("url"):
        status |= {"url": component["url"], "address": component["address"]}
    # KServe checks the replicas when the Knative Service changes, which scaling to zero does not do.
    changed = any(old.get(name) != status.get(name) for name in ("observedGeneration", "conditions", "components"))
    status["modelStatus"] = _model_status(
        old.get("modelStatus") or {}, ready, revisions, service, pool, changed=changed
    )
    return status


def invalid_status(isvc: Object, reason: str, message: str, now: str) -> dict[str, Any]:
    """The status of an InferenceService that cannot be rendered: only `modelStatus` says so; the rest keeps serving."""
    old = isvc.get("status") or {}
    known = old.get("conditions") or ()
    initial = [Condition(type, "Unknown") for type in ("IngressReady", "PredictorReady", "Ready")]
    model = old.get("modelStatus") or {}
    return {
        **old,
        "deploymentMode": DEPLOYMENT_MODE,
        "conditions": list(known) or merge_conditions((), initial, now),
        "modelStatus": {
            **model,
            "transitionStatus": "InvalidSpec",
            "states": {"activeModelState": "", **model.get("states", {}), "targetModelState": "FailedToLoad"},
            "lastFailureInfo": {"reason": reason, "message": message},
        },
    }


def _predictor(status: Mapping[str, Any]) -> Mapping[str, Any]:
    predictor: Mapping[str, Any] = (status.get("components") or {}).get("predictor") or {}
    return predictor


def _component(revisions: ComponentRevisions, service: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "latestReadyRevision": revisions.latest_ready,
        "latestCreatedRevision": revisions.latest_created,
        "latestRolledoutRevision": revisions.latest_rolled_out,
        "previousRolledoutRevision": revisions.previous_rolled_out,
    }
    component: dict[str, Any] = {name: value for name, value in names.items() if value}
    if service.get("traffic"):
        component["traffic"] = service["traffic"]
    # Copied while the Knative Service is ready, kept while it is not.
    ready = get_condition({"status": service}).status == "True"
    return component | {name: value for name in ("url", "address") if (value := (service if ready else old).get(name))}


def _aggregate(type: str, part: Condition) -> Condition:
    reason = "" if part.status == "True" else f"{part.type} not ready"
    return Condition(type, part.status, reason, severity="Info")


def _runtime_name(runtime: Object | None) -> dict[str, str]:
    if runtime is None:
        return {}
    name = "clusterServingRuntimeName" if runtime["kind"] == "ClusterServingRuntime" else "servingRuntimeName"
    return {name: runtime["metadata"]["name"]}


def _model_status(
    old: Mapping[str, Any],
    ready: Condition,
    revisions: ComponentRevisions,
    service: Mapping[str, Any],
    pool: PoolStatus | None,
    *,
    changed: bool,
) -> dict[str, Any]:
    """The model's state. As in KServe, `lastFailureInfo` stays after a recovery, and `failedCopies` is always 0."""
    running = pool is not None and bool(pool.actual or pool.desired)
    if not running and not changed and old:
        return dict(old)
    target, failure = "Pending", None
    if pool is None or not running:
        if any(item["status"] == "False" for item in service.get("conditions") or ()):
            target = "FailedToLoad"
    elif ready.status == "True" and revisions.latest_created == revisions.latest_ready:
        target = "Loaded"
    elif pool.exit_code is not None:
        target, failure = "FailedToLoad", {"exitCode": pool.exit_code, "message": pool.last_output}
    elif pool.message:  # the model could not be fetched: on a cluster the storage initializer fails
        target, failure = "FailedToLoad", {"exitCode": 1, "message": pool.message}
    elif pool.preparing:
        target = "Loading"
    transition = {"Loaded": "UpToDate", "FailedToLoad": "BlockedByFailedLoad"}.get(target, "InProgress")
    active = "Loaded" if target == "Loaded" else (old.get("states") or {}).get("activeModelState", "")
    status: dict[str, Any] = {
        "copies": {"failedCopies": 0, **({"totalCopies": pool.actual} if pool and pool.actual else {})},
        "states": {"activeModelState": active, "targetModelState": target},
        "transitionStatus": transition,
    }
    info = {"reason": "ModelLoadFailed", **failure} if failure else old.get("lastFailureInfo")
    return status | ({"lastFailureInfo": info} if info else {})
