"""What KServe reports of an InferenceService in Knative mode, as pure functions.

The rules are those of kserve's `inference_service_status.go` (PropagateStatus, PropagateModelStatus) with
`disableIstioVirtualHost: true`, which Knative without Istio needs: the URL is the predictor's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.kube.resources import Object
from local.serving.pool import PoolStatus
from local.serving.status import Condition, condition_of, conditions, overall
from local.serving.traffic import Rollout

DEPLOYMENT_MODE = "Knative"
_MIRRORED = (
    ("PredictorRouteReady", "RoutesReady"),
    ("PredictorConfigurationReady", "ConfigurationsReady"),
)
_GATHERED = (("RoutesReady", "PredictorRouteReady"), ("LatestDeploymentReady", "PredictorConfigurationReady"))


def rollout_of(isvc: Object) -> Rollout:
    """KServe's memory of the predictor, from the InferenceService's own status."""
    part = _predictor(isvc.get("status") or {})
    return Rollout(
        part.get("latestReadyRevision", ""),
        part.get("latestCreatedRevision", ""),
        part.get("latestRolledoutRevision", ""),
        part.get("previousRolledoutRevision", ""),
    )


def inference_status(
    isvc: Object,
    rollout: Rollout,
    service: Mapping[str, Any],
    pool: PoolStatus | None,
    runtime: Object | None,
    now: str,
) -> dict[str, Any]:
    """Its status from that of its Knative Service, `service`, and from the replicas of the newest revision.

    `observedGeneration` is the Knative Service's, as KServe has it: it says nothing of the InferenceService's own.
    """
    old = isvc.get("status") or {}
    component, known = _component(rollout, service, _predictor(old)), list(old.get("conditions") or ())
    said = {type: condition_of({"status": service}, type) for type in ("Ready", "RoutesReady", "ConfigurationsReady")}
    predictor = said["Ready"].named("PredictorReady")
    # Once the predictor has a URL there is an ingress, and KServe does not look whether it works.
    ingress = Condition("IngressReady", "True" if component.get("url") else "Unknown")
    mirrored = {type: said[source].named(type, "Info") for type, source in _MIRRORED}
    gathered = [_gathered(type, mirrored[source]) for type, source in _GATHERED]
    stopped = Condition("Stopped", "False", severity="Info")
    ready = overall(ingress, predictor)
    fresh = conditions(known, [ready, predictor, ingress, stopped, *mirrored.values(), *gathered], now)
    made: dict[str, Any] = {
        "observedGeneration": service.get("observedGeneration", 0),
        "deploymentMode": DEPLOYMENT_MODE,
        **_runtime_name(runtime),
        "conditions": fresh,
        "components": {"predictor": component},
    }
    if component.get("url"):
        made |= {"url": component["url"], "address": component["address"]}
    # KServe looks at the replicas when the Knative Service changes; that all of them went to sleep is no such change.
    changed = any(old.get(name) != made.get(name) for name in ("observedGeneration", "conditions", "components"))
    made["modelStatus"] = _model_status(old.get("modelStatus") or {}, ready, rollout, service, pool, changed=changed)
    return made


def invalid_status(isvc: Object, reason: str, message: str, now: str) -> dict[str, Any]:
    """The status of an InferenceService that cannot be rendered: only `modelStatus` says so; what serves goes on."""
    old = isvc.get("status") or {}
    known = old.get("conditions") or ()
    initial = [Condition(type, "Unknown") for type in ("IngressReady", "PredictorReady", "Ready")]
    model = old.get("modelStatus") or {}
    return {
        **old,
        "deploymentMode": DEPLOYMENT_MODE,
        "conditions": list(known) or conditions((), initial, now),
        "modelStatus": {
            **model,
            "transitionStatus": "InvalidSpec",
            "states": {"activeModelState": "", **model.get("states", {}), "targetModelState": "FailedToLoad"},
            "lastFailureInfo": {"reason": reason, "message": message},
        },
    }


def _predictor(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (status.get("components") or {}).get("predictor") or {}
    return found


def _component(rollout: Rollout, service: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "latestReadyRevision": rollout.latest_ready,
        "latestCreatedRevision": rollout.latest_created,
        "latestRolledoutRevision": rollout.latest_rolled_out,
        "previousRolledoutRevision": rollout.previous_rolled_out,
    }
    found: dict[str, Any] = {name: value for name, value in names.items() if value}
    if service.get("traffic"):
        found["traffic"] = service["traffic"]
    # Taken over while the Knative Service is ready, kept while it is not.
    ready = condition_of({"status": service}).status == "True"
    return found | {name: value for name in ("url", "address") if (value := (service if ready else old).get(name))}


def _gathered(type: str, part: Condition) -> Condition:
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
    rollout: Rollout,
    service: Mapping[str, Any],
    pool: PoolStatus | None,
    *,
    changed: bool,
) -> dict[str, Any]:
    """The model's state. `lastFailureInfo` stays after a recovery, and `failedCopies` is always 0: KServe's are so."""
    running = pool is not None and bool(pool.actual or pool.desired)
    if not running and not changed and old:
        return dict(old)
    target, failure = "Pending", None
    if pool is None or not running:
        if any(item["status"] == "False" for item in service.get("conditions") or ()):
            target = "FailedToLoad"
    elif ready.status == "True" and rollout.latest_created == rollout.latest_ready:
        target = "Loaded"
    elif pool.exit_code is not None:
        target, failure = "FailedToLoad", {"exitCode": pool.exit_code, "message": pool.said}
    elif pool.message:  # the model did not come: where a cluster's storage initializer ends with an error
        target, failure = "FailedToLoad", {"exitCode": 1, "message": pool.message}
    elif pool.preparing:
        target = "Loading"
    transition = {"Loaded": "UpToDate", "FailedToLoad": "BlockedByFailedLoad"}.get(target, "InProgress")
    active = "Loaded" if target == "Loaded" else (old.get("states") or {}).get("activeModelState", "")
    made: dict[str, Any] = {
        "copies": {"failedCopies": 0, **({"totalCopies": pool.actual} if pool and pool.actual else {})},
        "states": {"activeModelState": active, "targetModelState": target},
        "transitionStatus": transition,
    }
    info = {"reason": "ModelLoadFailed", **failure} if failure else old.get("lastFailureInfo")
    return made | ({"lastFailureInfo": info} if info else {})
