"""The statuses of Knative's Revisions and Services, as pure functions.

Reasons and messages are those of knative/serving's `*_lifecycle.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.kube.resources import Object
from local.serving.conditions import Condition, Truth, get_condition, merge_conditions, ready_condition
from local.serving.hosts import external_url, internal_url
from local.serving.replica_pool import PoolStatus
from local.serving.revisions import generation
from local.serving.traffic import TrafficTarget, status_traffic

VISIBILITY = "networking.knative.dev/visibility"
KSERVE_VISIBILITY = "networking.kserve.io/visibility"


@dataclass(frozen=True, slots=True)
class ServiceReadiness:
    """Whether a service's newest revision and its routes are ready, and the targets in force."""

    created: str = ""
    ready: str = ""
    targets: tuple[TrafficTarget, ...] = ()
    configurations: Condition = field(default_factory=lambda: Condition("ConfigurationsReady", "Unknown"))
    routes: Condition = field(default_factory=lambda: Condition("RoutesReady", "Unknown"))

    @property
    def condition(self) -> Condition:
        return ready_condition(self.configurations, self.routes)


def revision_status(revision: Object, pool: PoolStatus | None, now: str, log: str) -> dict[str, Any]:
    """A Revision's status. One that was ready stays ready, whatever happens to its replicas."""
    old = revision.get("status") or {}
    healthy, available = _health(revision, pool)
    return {
        "observedGeneration": revision["metadata"].get("generation", 1),
        "conditions": merge_conditions(
            old.get("conditions") or (), [ready_condition(healthy, available), _active(pool), healthy, available], now
        ),
        "containerStatuses": [
            {"name": container.get("name") or "user-container"}
            for container in revision["spec"].get("containers") or ()
        ],
        "actualReplicas": pool.actual if pool else 0,
        # The autoscaler has no number before the first replica is ready.
        **({"desiredReplicas": pool.desired} if pool and (pool.proven or pool.failed) else {}),
        "logUrl": log,
    }


def _health(revision: Object, pool: PoolStatus | None) -> tuple[Condition, Condition]:
    """ContainerHealthy and ResourcesAvailable."""
    healthy, available = "ContainerHealthy", "ResourcesAvailable"
    if pool is None:
        return _or_deploying(get_condition(revision, healthy)), _or_deploying(get_condition(revision, available))
    if pool.proven:
        return Condition(healthy, "True"), Condition(available, "True")
    if pool.exit_code is not None:
        output = pool.last_output or ("container exited with no error" if pool.exit_code == 0 else pool.message)
        failed = Condition(healthy, "False", f"ExitCode{pool.exit_code}", f"Container failed with: {output}")
        return failed, Condition(available, "Unknown", "Deploying")
    if pool.failed:
        deadline_message = f"Initial scale was never achieved: {pool.failed}"
        return (
            Condition(healthy, "Unknown", "Deploying"),
            Condition(available, "False", "ProgressDeadlineExceeded", deadline_message),
        )
    return Condition(healthy, "Unknown", "Deploying"), Condition(available, "Unknown", "Deploying", pool.message)


def _or_deploying(known: Condition) -> Condition:
    return known if known.status != "Unknown" else Condition(known.type, "Unknown", "Deploying")


def _active(pool: PoolStatus | None) -> Condition:
    if pool is None:
        return Condition("Active", "Unknown", "Deploying", "", "Info")
    if pool.actual:
        return Condition("Active", "True", severity="Info")
    if pool.desired:
        buffered = "Requests to the target are being buffered as resources are provisioned."
        return Condition("Active", "Unknown", "Queued", buffered, "Info")
    return Condition("Active", "False", "NoTraffic", "The target is not receiving traffic.", "Info")


def service_readiness(
    service: Object, revisions: Sequence[Object], targets: Sequence[TrafficTarget]
) -> ServiceReadiness:
    """A service's readiness from its revisions (oldest first); `targets` are the routed ones."""
    if not revisions:
        return ServiceReadiness()
    configurations = _configurations(revisions[-1])
    routes = _routes(service, revisions, configurations)
    created = revisions[-1]["metadata"]["name"]
    return ServiceReadiness(created, latest_ready(revisions), tuple(targets), configurations, routes)


def _configurations(newest: Object) -> Condition:
    ready, name = get_condition(newest), newest["metadata"]["name"]
    if ready.status == "False":
        message = f'Revision "{name}" failed with message: {ready.message}.'
        return Condition("ConfigurationsReady", "False", "RevisionFailed", message)
    return Condition("ConfigurationsReady", ready.status)


def _routes(service: Object, revisions: Sequence[Object], configurations: Condition) -> Condition:
    """Whether all traffic can be routed as `spec.traffic` requires; Knative names the first unreachable target."""
    known = {item["metadata"]["name"]: get_condition(item) for item in revisions}
    configuration = service["metadata"]["name"]

    def missing(status: Truth, message: str) -> Condition:
        return Condition("RoutesReady", status, "RevisionMissing", message)

    for item in (service.get("spec") or {}).get("traffic") or ({"latestRevision": True},):
        name = item.get("revisionName") or ""
        if not name and not latest_ready(revisions):
            if configurations.status == "False":
                return missing("False", f'Configuration "{configuration}" does not have any ready Revision.')
            return missing("Unknown", f'Configuration "{configuration}" is waiting for a Revision to become ready.')
        if name and name not in known:
            return missing("False", f'Revision "{name}" referenced in traffic not found.')
        if name and known[name].status == "False":
            return missing("False", f'Revision "{name}" failed to become ready.')
        if name and known[name].status == "Unknown":
            return missing("Unknown", f'Revision "{name}" is not yet ready.')
    return Condition("RoutesReady", "True")


def latest_ready(revisions: Iterable[Object]) -> str:
    """The newest revision that is ready, or ""."""
    ready = [item for item in revisions if get_condition(item).status == "True"]
    return str(max(ready, key=generation)["metadata"]["name"]) if ready else ""


def cluster_local(service: Object) -> bool:
    """Whether a service is only for other workloads, by Knative's label or KServe's own, which is passed down."""
    labels = service["metadata"].get("labels") or {}
    return "cluster-local" in (labels.get(VISIBILITY), labels.get(KSERVE_VISIBILITY))


def service_status(service: Object, readiness: ServiceReadiness, domain: str, now: str) -> dict[str, Any]:
    """A Knative Service's status. `address` and `traffic` appear with the first route."""
    metadata, old = service["metadata"], service.get("status") or {}
    name, namespace = metadata["name"], metadata["namespace"]
    local = cluster_local(service)

    def url(tag: str = "") -> str:
        if local:
            return internal_url(namespace, f"{tag}-{name}" if tag else name)
        return external_url(domain, namespace, name, tag)

    status: dict[str, Any] = {
        "observedGeneration": metadata.get("generation", 1),
        "conditions": merge_conditions(
            old.get("conditions") or (), [readiness.configurations, readiness.routes, readiness.condition], now
        ),
        "url": url(),
    }
    if readiness.targets:
        status["address"] = {"url": internal_url(namespace, name)}
        status["traffic"] = status_traffic(readiness.targets, {t.tag: url(t.tag) for t in readiness.targets if t.tag})
    if readiness.created:
        status["latestCreatedRevisionName"] = readiness.created
    if readiness.ready:
        status["latestReadyRevisionName"] = readiness.ready
    return status
