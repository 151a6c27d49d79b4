"""What Knative and KServe report: conditions and status of revisions, services and InferenceServices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from local.kube.resources import Object
from local.serving.hosts import PREDICTOR, external, internal
from local.serving.pool import PoolStatus
from local.serving.revisions import generation
from local.serving.traffic import Rollout, Target, status_traffic

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: Truth
    reason: str = ""
    message: str = ""
    severity: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A service's revisions as far as routing is concerned."""

    created: str = ""
    ready: str = ""
    targets: tuple[Target, ...] = ()
    condition: Condition = field(default_factory=lambda: Condition("Ready", "Unknown"))


def conditions(old: Sequence[Mapping[str, Any]], new: Sequence[Condition], now: str) -> list[dict[str, Any]]:
    """The list for a status; lastTransitionTime moves only where the status does."""
    before = {item["type"]: item for item in old}
    made = []
    for one in sorted(new, key=lambda condition: condition.type):
        known = before.get(one.type)
        same = known is not None and known["status"] == one.status
        item: dict[str, Any] = {"type": one.type, "status": one.status}
        item["lastTransitionTime"] = known["lastTransitionTime"] if known and same else now
        item |= {name: getattr(one, name) for name in ("reason", "message", "severity") if getattr(one, name)}
        made.append(item)
    return made


def condition_of(item: Object, type: str = "Ready") -> Condition:
    """A condition that an object has; Unknown when it has none."""
    for found in (item.get("status") or {}).get("conditions") or ():
        if found["type"] == type:
            return Condition(type, found["status"], found.get("reason", ""), found.get("message", ""))
    return Condition(type, "Unknown")


def revision_status(revision: Object, pool: PoolStatus | None, now: str, log: str) -> dict[str, Any]:
    """A Revision's status; one that was ready stays so, whatever becomes of its replicas."""
    old = revision.get("status") or {}
    if pool is None or pool.proven:
        ready = Condition("Ready", "True") if pool else condition_of(revision)
    elif pool.failed:
        ready = Condition("Ready", "False", "ExitCode" if "status" in pool.failed else "ProgressDeadlineExceeded",
                          f"Container failed with: {pool.failed}")  # fmt: skip
    else:
        ready = Condition("Ready", "Unknown", "Deploying", pool.message)
    active = bool(pool and (pool.actual or pool.desired))
    idle = Condition("Active", "True", severity="Info")
    if not active:
        idle = Condition("Active", "False", "NoTraffic", "The target is not receiving traffic.", "Info")
    health = [Condition(name, ready.status, ready.reason, ready.message)
              for name in ("ContainerHealthy", "ResourcesAvailable")]  # fmt: skip
    return {
        "observedGeneration": revision["metadata"].get("generation", 1),
        "conditions": conditions(old.get("conditions") or (), [ready, idle, *health], now),
        "actualReplicas": pool.actual if pool else 0,
        "desiredReplicas": pool.desired if pool else 0,
        "logUrl": log,
    }


def outcome(service: Object, revisions: Sequence[Object], targets: Sequence[Target]) -> Outcome:
    """What a service's revisions (oldest first) come to; `targets` are those that are routed."""
    created = revisions[-1]["metadata"]["name"] if revisions else ""
    ready = latest_ready(revisions)
    name = service["metadata"]["name"]
    if not revisions:
        return Outcome(condition=Condition("Ready", "Unknown"))
    newest = condition_of(revisions[-1])
    if newest.status == "False":
        message = f'Revision "{created}" failed with message: {newest.message}.'
        return Outcome(created, ready, tuple(targets), Condition("Ready", "False", "RevisionFailed", message))
    if newest.status == "Unknown":
        return Outcome(created, ready, tuple(targets), Condition("Ready", "Unknown", newest.reason, newest.message))
    if not targets:
        message = f"a revision that spec.traffic of {name} names is missing or not ready"
        return Outcome(created, ready, (), Condition("Ready", "False", "RevisionMissing", message))
    return Outcome(created, ready, tuple(targets), Condition("Ready", "True"))


def latest_ready(revisions: Sequence[Object]) -> str:
    """The newest revision that is ready, or ""."""
    able = [item for item in revisions if condition_of(item).status == "True"]
    return str(max(able, key=generation)["metadata"]["name"]) if able else ""


def service_status(service: Object, result: Outcome, domain: str, now: str) -> dict[str, Any]:
    """A Knative Service's status."""
    metadata, old = service["metadata"], service.get("status") or {}
    name, namespace = metadata["name"], metadata["namespace"]
    urls = {target.tag: external(domain, namespace, name, target.tag) for target in result.targets if target.tag}
    whole = result.condition
    configuration = whole if whole.reason != "RevisionMissing" else Condition("Ready", "True")
    routed: Truth = "True" if result.targets else ("False" if whole.status == "False" else "Unknown")
    route = Condition(
        "RoutesReady", routed, "" if result.targets else whole.reason, "" if result.targets else whole.message
    )
    made: dict[str, Any] = {
        "observedGeneration": metadata.get("generation", 1),
        "conditions": conditions(
            old.get("conditions") or (),
            [
                Condition("ConfigurationsReady", configuration.status, configuration.reason, configuration.message),
                route,
                whole,
            ],
            now,
        ),
        "url": external(domain, namespace, name),
        "address": {"url": internal(namespace, name)},
        "traffic": status_traffic(result.targets, urls),
    }
    if result.created:
        made["latestCreatedRevisionName"] = result.created
    if result.ready:
        made["latestReadyRevisionName"] = result.ready
    return made


def rollout_of(isvc: Object) -> Rollout:
    """KServe's memory of the predictor, from the InferenceService's own status."""
    part = ((isvc.get("status") or {}).get("components") or {}).get("predictor") or {}
    return Rollout(
        part.get("latestReadyRevision", ""),
        part.get("latestCreatedRevision", ""),
        part.get("latestRolledoutRevision", ""),
        part.get("previousRolledoutRevision", ""),
    )


def isvc_status(isvc: Object, rollout: Rollout, service: Mapping[str, Any], domain: str, now: str) -> dict[str, Any]:
    """An InferenceService's status from its Knative Service's."""
    metadata, old = isvc["metadata"], isvc.get("status") or {}
    name, namespace = metadata["name"], metadata["namespace"]
    found = {item["type"]: item for item in service.get("conditions") or ()}

    def mirrored(type: str, source: str, severity: str = "") -> Condition:
        item = found.get(source) or {}
        return Condition(type, item.get("status", "Unknown"), item.get("reason", ""), item.get("message", ""), severity)

    ready, predictor = mirrored("Ready", "Ready"), mirrored("PredictorReady", "Ready")
    ingress = Condition("IngressReady", mirrored("IngressReady", "RoutesReady").status)
    names = (
        ("predictor", rollout.latest_ready, "latestReadyRevision"),
        ("predictor", rollout.latest_created, "latestCreatedRevision"),
        ("predictor", rollout.latest_rolled_out, "latestRolledoutRevision"),
        ("predictor", rollout.previous_rolled_out, "previousRolledoutRevision"),
    )
    component: dict[str, Any] = {field_name: value for _, value, field_name in names if value}
    component |= {"url": service["url"], "address": service["address"], "traffic": service["traffic"]}
    return {
        "observedGeneration": metadata.get("generation", 1),
        "conditions": conditions(
            old.get("conditions") or (),
            [
                ready,
                predictor,
                ingress,
                mirrored("PredictorConfigurationReady", "ConfigurationsReady", "Info"),
                mirrored("PredictorRouteReady", "RoutesReady", "Info"),
                mirrored("LatestDeploymentReady", "ConfigurationsReady", "Info"),
                mirrored("RoutesReady", "RoutesReady", "Info"),
            ],
            now,
        ),
        "url": external(domain, namespace, name),
        "address": {"url": internal(namespace, name + PREDICTOR)},
        "components": {"predictor": component},
        "modelStatus": _model_status(ready, rollout),
    }


def isvc_failure(isvc: Object, reason: str, message: str, now: str) -> dict[str, Any]:
    """The status of an InferenceService that cannot be rendered; what serves goes on serving."""
    old = isvc.get("status") or {}
    bad = [Condition(type, "False", reason, message) for type in ("Ready", "PredictorReady")]
    kept = [
        Condition(
            item["type"], item["status"], item.get("reason", ""), item.get("message", ""), item.get("severity", "")
        )
        for item in old.get("conditions") or ()
        if item["type"] not in ("Ready", "PredictorReady")
    ]
    failure = {"reason": reason, "message": message}
    return {
        **old,
        "observedGeneration": isvc["metadata"].get("generation", 1),
        "conditions": conditions(old.get("conditions") or (), [*bad, *kept], now),
        "modelStatus": {"transitionStatus": "InvalidSpec", "lastFailureInfo": failure},
    }


def _model_status(ready: Condition, rollout: Rollout) -> dict[str, Any]:
    active = "Loaded" if rollout.latest_ready else ("FailedToLoad" if ready.status == "False" else "Pending")
    if ready.status == "True":
        return {"transitionStatus": "UpToDate", "states": {"activeModelState": active, "targetModelState": "Loaded"}}
    if ready.status == "Unknown":
        return {"transitionStatus": "InProgress", "states": {"activeModelState": active, "targetModelState": "Loading"}}
    return {
        "transitionStatus": "BlockedByFailedLoad",
        "states": {"activeModelState": active, "targetModelState": "FailedToLoad"},
        "lastFailureInfo": {"reason": "ModelLoadFailed", "message": ready.message},
    }
