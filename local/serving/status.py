"""What Knative reports: conditions and status of revisions and services, as pure functions.

Reasons and messages are those of knative/serving's `*_lifecycle.go`; how conditions come together is knative/pkg's
`condition_set.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from local.kube.resources import Object
from local.serving.hosts import external, internal
from local.serving.pool import PoolStatus
from local.serving.revisions import generation
from local.serving.traffic import Target, status_traffic

Truth = Literal["True", "False", "Unknown"]
VISIBILITY = "networking.knative.dev/visibility"
KSERVE_VISIBILITY = "networking.kserve.io/visibility"


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: Truth
    reason: str = ""
    message: str = ""
    severity: str = ""

    def named(self, type: str, severity: str = "") -> Condition:
        """The same under another type."""
        return Condition(type, self.status, self.reason, self.message, severity)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A service's revisions as far as routing is concerned."""

    created: str = ""
    ready: str = ""
    targets: tuple[Target, ...] = ()
    configurations: Condition = field(default_factory=lambda: Condition("ConfigurationsReady", "Unknown"))
    routes: Condition = field(default_factory=lambda: Condition("RoutesReady", "Unknown"))

    @property
    def condition(self) -> Condition:
        return overall(self.configurations, self.routes)


def overall(*parts: Condition) -> Condition:
    """Ready of its parts: one that failed before one that is open, and of several the last, True when all are."""
    for status in ("False", "Unknown"):
        for part in reversed(parts):
            if part.status == status:
                return part.named("Ready")
    return Condition("Ready", "True")


def conditions(old: Sequence[Mapping[str, Any]], new: Sequence[Condition], now: str) -> list[dict[str, Any]]:
    """The list for a status; lastTransitionTime moves with anything that a condition says, as Knative's does."""
    before = {item["type"]: item for item in old}
    made = []
    for one in sorted(new, key=lambda condition: condition.type):
        item: dict[str, Any] = {"type": one.type, "status": one.status}
        item |= {name: getattr(one, name) for name in ("reason", "message", "severity") if getattr(one, name)}
        known = dict(before.get(one.type) or {})
        moved = known.pop("lastTransitionTime", now)
        made.append({**item, "lastTransitionTime": moved if known == item else now})
    return made


def condition_of(item: Object, type: str = "Ready") -> Condition:
    """A condition that an object has; Unknown when it has none."""
    for found in (item.get("status") or {}).get("conditions") or ():
        if found["type"] == type:
            return Condition(
                type, found["status"], found.get("reason", ""), found.get("message", ""), found.get("severity", "")
            )
    return Condition(type, "Unknown")


def revision_status(revision: Object, pool: PoolStatus | None, now: str, log: str) -> dict[str, Any]:
    """A Revision's status; one that was ready stays so, whatever becomes of its replicas."""
    old = revision.get("status") or {}
    healthy, available = _health(revision, pool)
    return {
        "observedGeneration": revision["metadata"].get("generation", 1),
        "conditions": conditions(
            old.get("conditions") or (), [overall(healthy, available), _active(pool), healthy, available], now
        ),
        "containerStatuses": [
            {"name": container.get("name") or "user-container"}
            for container in revision["spec"].get("containers") or ()
        ],
        "actualReplicas": pool.actual if pool else 0,
        # The autoscaler has no number before the first replica was ready.
        **({"desiredReplicas": pool.desired} if pool and (pool.proven or pool.failed) else {}),
        "logUrl": log,
    }


def _health(revision: Object, pool: PoolStatus | None) -> tuple[Condition, Condition]:
    """ContainerHealthy and ResourcesAvailable."""
    healthy, available = "ContainerHealthy", "ResourcesAvailable"
    if pool is None:
        return _deployed(condition_of(revision, healthy)), _deployed(condition_of(revision, available))
    if pool.proven:
        return Condition(healthy, "True"), Condition(available, "True")
    if pool.exit_code is not None:
        said = pool.said or ("container exited with no error" if pool.exit_code == 0 else pool.message)
        failed = Condition(healthy, "False", f"ExitCode{pool.exit_code}", f"Container failed with: {said}")
        return failed, Condition(available, "Unknown", "Deploying")
    if pool.failed:
        late = f"Initial scale was never achieved: {pool.failed}"
        return (
            Condition(healthy, "Unknown", "Deploying"),
            Condition(available, "False", "ProgressDeadlineExceeded", late),
        )
    return Condition(healthy, "Unknown", "Deploying"), Condition(available, "Unknown", "Deploying", pool.message)


def _deployed(known: Condition) -> Condition:
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


def outcome(service: Object, revisions: Sequence[Object], targets: Sequence[Target]) -> Outcome:
    """What a service's revisions (oldest first) come to; `targets` are those that are routed."""
    if not revisions:
        return Outcome()
    configurations = _configurations(revisions[-1])
    routes = _routes(service, revisions, configurations)
    created = revisions[-1]["metadata"]["name"]
    return Outcome(created, latest_ready(revisions), tuple(targets), configurations, routes)


def _configurations(newest: Object) -> Condition:
    ready, name = condition_of(newest), newest["metadata"]["name"]
    if ready.status == "False":
        message = f'Revision "{name}" failed with message: {ready.message}.'
        return Condition("ConfigurationsReady", "False", "RevisionFailed", message)
    return Condition("ConfigurationsReady", ready.status)


def _routes(service: Object, revisions: Sequence[Object], configurations: Condition) -> Condition:
    """Whether all traffic can go where `spec.traffic` wants it; Knative names the first target that it cannot reach."""
    known = {item["metadata"]["name"]: condition_of(item) for item in revisions}
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
    able = [item for item in revisions if condition_of(item).status == "True"]
    return str(max(able, key=generation)["metadata"]["name"]) if able else ""


def cluster_local(service: Object) -> bool:
    """Whether a service is for other workloads only: Knative's label, or KServe's own, which it hands down."""
    labels = service["metadata"].get("labels") or {}
    return "cluster-local" in (labels.get(VISIBILITY), labels.get(KSERVE_VISIBILITY))


def service_status(service: Object, result: Outcome, domain: str, now: str) -> dict[str, Any]:
    """A Knative Service's status. `address` and `traffic` come with the first route."""
    metadata, old = service["metadata"], service.get("status") or {}
    name, namespace = metadata["name"], metadata["namespace"]
    local = cluster_local(service)

    def url(tag: str = "") -> str:
        if local:
            return internal(namespace, f"{tag}-{name}" if tag else name)
        return external(domain, namespace, name, tag)

    made: dict[str, Any] = {
        "observedGeneration": metadata.get("generation", 1),
        "conditions": conditions(
            old.get("conditions") or (), [result.configurations, result.routes, result.condition], now
        ),
        "url": url(),
    }
    if result.targets:
        made["address"] = {"url": internal(namespace, name)}
        made["traffic"] = status_traffic(result.targets, {t.tag: url(t.tag) for t in result.targets if t.tag})
    if result.created:
        made["latestCreatedRevisionName"] = result.created
    if result.ready:
        made["latestReadyRevisionName"] = result.ready
    return made
