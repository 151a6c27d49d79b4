"""What the embedded platform serves: names, scope, and how `kubectl get` prints each kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """One column of `kubectl get`. `priority` above 0 shows only with -o wide."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object. `group` is "" for core; `verbs` are those of discovery."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    has_status: bool = True
    columns: tuple[PrinterColumn, ...] = field(default=(), compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The plural as messages name it: inferenceservices.serving.kserve.io."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def custom(self) -> bool:
        """Whether a cluster knows the kind from a CustomResourceDefinition."""
        return bool(self.group)


def _condition_path(condition: str, field: str) -> str:
    return f".status.conditions[?(@.type=='{condition}')].{field}"


READY = PrinterColumn("Ready", _condition_path("Ready", "status"))
REASON = PrinterColumn("Reason", _condition_path("Ready", "reason"))
AGE = PrinterColumn("Age", ".metadata.creationTimestamp", "date")
_TRAFFIC = ".status.components.predictor.traffic"
_LATEST = f"{_TRAFFIC}[?(@.latestRevision==true)]"
_PREV = f"{_TRAFFIC}[?(@.tag=='prev')]"
_LABEL = ".metadata.labels['serving\\.knative\\.dev/{}']"
_RUNTIME = (
    PrinterColumn("Disabled", ".spec.disabled", "boolean"),
    PrinterColumn("ModelType", ".spec.supportedModelFormats[*].name"),
    PrinterColumn("Containers", ".spec.containers[*].name"),
    AGE,
)
_SERVING = ("all", "knative", "serving")
_EVENTING = ("all", "knative", "eventing")

RESOURCES: tuple[Resource, ...] = (
    Resource("", "v1", "Namespace", "namespaces", namespaced=False, short=("ns",)),
    Resource("", "v1", "ConfigMap", "configmaps", short=("cm",), has_status=False),
    Resource("", "v1", "Secret", "secrets", has_status=False),
    Resource("", "v1", "Service", "services", short=("svc",), categories=("all",)),
    Resource("", "v1", "ServiceAccount", "serviceaccounts", short=("sa",), has_status=False),
    Resource("", "v1", "Event", "events", short=("ev",), has_status=False),
    Resource("", "v1", "Pod", "pods", short=("po",), categories=("all",)),
    Resource(
        "serving.kserve.io",
        "v1beta1",
        "InferenceService",
        "inferenceservices",
        short=("isvc",),
        columns=(
            PrinterColumn("URL", ".status.url"),
            READY,
            PrinterColumn("Prev", f"{_PREV}.percent", "integer"),
            PrinterColumn("Latest", f"{_LATEST}.percent", "integer"),
            PrinterColumn("PrevRolledoutRevision", f"{_PREV}.revisionName"),
            PrinterColumn("LatestReadyRevision", f"{_LATEST}.revisionName"),
            AGE,
        ),
    ),
    Resource("serving.kserve.io", "v1alpha1", "ServingRuntime", "servingruntimes", has_status=False, columns=_RUNTIME),
    Resource(
        "serving.kserve.io",
        "v1alpha1",
        "ClusterServingRuntime",
        "clusterservingruntimes",
        namespaced=False,
        has_status=False,
        columns=_RUNTIME,
    ),
    Resource(
        "serving.kserve.io",
        "v1alpha1",
        "ClusterStorageContainer",
        "clusterstoragecontainers",
        namespaced=False,
        has_status=False,
        columns=(AGE,),
    ),
    Resource(
        "serving.knative.dev",
        "v1",
        "Service",
        "services",
        short=("kservice", "ksvc"),
        categories=_SERVING,
        columns=(
            PrinterColumn("URL", ".status.url"),
            PrinterColumn("LatestCreated", ".status.latestCreatedRevisionName"),
            PrinterColumn("LatestReady", ".status.latestReadyRevisionName"),
            READY,
            REASON,
        ),
    ),
    Resource(
        "serving.knative.dev",
        "v1",
        "Configuration",
        "configurations",
        short=("config", "cfg"),
        categories=_SERVING,
        columns=(
            PrinterColumn("LatestCreated", ".status.latestCreatedRevisionName"),
            PrinterColumn("LatestReady", ".status.latestReadyRevisionName"),
            READY,
            REASON,
        ),
    ),
    Resource(
        "serving.knative.dev",
        "v1",
        "Revision",
        "revisions",
        short=("rev",),
        categories=_SERVING,
        columns=(
            PrinterColumn("Config Name", _LABEL.format("configuration")),
            PrinterColumn("Generation", _LABEL.format("configurationGeneration")),
            READY,
            REASON,
            PrinterColumn("Actual Replicas", ".status.actualReplicas", "integer"),
            PrinterColumn("Desired Replicas", ".status.desiredReplicas", "integer"),
        ),
    ),
    Resource(
        "serving.knative.dev",
        "v1",
        "Route",
        "routes",
        short=("rt",),
        categories=_SERVING,
        columns=(PrinterColumn("URL", ".status.url"), READY, REASON),
    ),
    Resource(
        "eventing.knative.dev",
        "v1",
        "Broker",
        "brokers",
        categories=_EVENTING,
        columns=(
            PrinterColumn("URL", ".status.address.url"),
            AGE,
            READY,
            REASON,
            PrinterColumn("Class", ".metadata.annotations['eventing\\.knative\\.dev/broker\\.class']", priority=1),
        ),
    ),
    Resource(
        "eventing.knative.dev",
        "v1",
        "Trigger",
        "triggers",
        categories=_EVENTING,
        columns=(
            PrinterColumn("Broker", ".spec.broker"),
            PrinterColumn("Subscriber_URI", ".status.subscriberUri"),
            AGE,
            READY,
            REASON,
        ),
    ),
    Resource(
        "sources.knative.dev",
        "v1",
        "PingSource",
        "pingsources",
        categories=("all", "knative", "sources"),
        columns=(
            PrinterColumn("Sink", ".status.sinkUri"),
            PrinterColumn("Schedule", ".spec.schedule"),
            AGE,
            READY,
            REASON,
        ),
    ),
)

_BY_KIND = {(r.group, r.kind): r for r in RESOURCES}
_BY_PATH = {(r.group, r.version, r.plural): r for r in RESOURCES}

NAMESPACE = _BY_KIND["", "Namespace"]


def by_path(group: str, version: str, plural: str) -> Resource | None:
    """The resource under /apis/{group}/{version}/{plural}, or None."""
    return _BY_PATH.get((group, version, plural))


def by_kind(kind: str) -> Resource:
    """The resource of a kind: `InferenceService`, or `Service.serving.knative.dev` where the bare name is core's.

    A bare name that only one group has is enough; KeyError with the known kinds otherwise.
    """
    name, _, group = kind.partition(".")
    matches = [r for r in RESOURCES if r.kind == name and (not group or r.group == group)]
    if len(matches) > 1:
        matches = [r for r in matches if not r.group]
    if not matches:
        raise KeyError(f"{kind} is not served; found {', '.join(sorted({r.kind for r in RESOURCES}))}")
    return matches[0]


def groups() -> dict[str, tuple[str, ...]]:
    """Each named API group with its versions, preferred first."""
    versions: dict[str, list[str]] = {}
    for resource in RESOURCES:
        if resource.group:
            known = versions.setdefault(resource.group, [])
            if resource.version not in known:
                known.append(resource.version)
    return {group: tuple(known) for group, known in versions.items()}
