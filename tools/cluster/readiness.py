"""What of the deployed objects is not ready yet.

`live` is what `kubectl get --filename` answers for the objects that were applied; `serving` is what KServe made for the
InferenceService: a Knative Service, or Deployments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from common.annotations import MODEL_VERSION_ANNOTATION
from common.names import INFERENCE_SERVICE, NAMESPACE
from tools.errors import ToolError

Object = dict[str, Any]

PREDICTOR = f"{INFERENCE_SERVICE}-predictor"
LABELS = {
    "external-secrets.io/ExternalSecret": "ExternalSecret",
    "apps/StatefulSet": "StatefulSet",
    "apps/Deployment": "Deployment",
    "batch/Job": "Job",
    "serving.kserve.io/LocalModelCache": "LocalModelCache",
    "eventing.knative.dev/Broker": "Broker",
    "serving.knative.dev/Service": "function",
    "eventing.knative.dev/Trigger": "Trigger",
    "sources.knative.dev/PingSource": "PingSource",
}
"""What is waited for, in the order in which things become ready, and what people call it."""
MODEL = "model"
MAX_REASON = 200


class WillNotBecomeReadyError(ToolError):
    """However long one waits."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """An object that is waited for, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def not_ready(live: list[Object], serving: list[Object]) -> Iterator[NotReady]:
    """In the order in which things become ready. WillNotBecomeReadyError for a Job that failed."""
    order = list(LABELS)
    awaited = [item for item in live if group_kind(item) in LABELS]
    for item in sorted(awaited, key=lambda item: order.index(group_kind(item))):
        if reason := not_ready_reason(item):
            yield NotReady(f"{LABELS[group_kind(item)]} {item['metadata']['name']}", reason)
    runtimes = {item["metadata"]["name"]: item for item in live if item["kind"] == "ServingRuntime"}
    for item in live:
        if item["kind"] == "InferenceService":
            yield from (NotReady(MODEL, reason) for reason in model_reasons(item, serving, runtimes))


def group_kind(item: Object) -> str:
    return f"{item['apiVersion'].partition('/')[0]}/{item['kind']}"


def not_ready_reason(item: Object) -> str:
    """Why an object is not ready; "" when it is."""
    status = item.get("status") or {}
    if item["kind"] == "Job":
        return job_reason(item)
    if item["kind"] == "LocalModelCache":
        return cache_reason(item)
    observed = status.get("observedGeneration")
    if observed is not None and observed != item["metadata"].get("generation"):
        return "the change was not seen yet"
    if item["kind"] in ("Deployment", "StatefulSet"):
        return workload_reason(item)
    ready = condition(item, "Ready")
    return "" if ready.get("status") == "True" else condition_text(ready)


def job_reason(item: Object) -> str:
    if (failed := condition(item, "Failed")).get("status") == "True":
        name = item["metadata"]["name"]
        logs = f"kubectl logs --namespace {NAMESPACE} job/{name}"
        raise WillNotBecomeReadyError(f"Job {name}: {condition_text(failed)}: {logs}")
    return "" if condition(item, "Complete").get("status") == "True" else "has not ended yet"


def workload_reason(item: Object) -> str:
    """As `kubectl rollout status` has it: Available stays true while a Deployment's new pods do not start."""
    status, wanted = item.get("status") or {}, item["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    if status.get("observedGeneration") is None or updated < wanted:
        return f"{updated} of {wanted} pods are of the new version"
    if status.get("replicas", 0) > updated and item["kind"] == "Deployment":
        return "pods of the old version are still there"
    ready = status.get("availableReplicas" if item["kind"] == "Deployment" else "readyReplicas", 0)
    return "" if ready >= wanted else f"{ready} of {wanted} pods are ready"


def cache_reason(item: Object) -> str:
    """KServe tries a copy a few times and then never again: one that failed needs somebody to look at it."""
    copies = (item.get("status") or {}).get("copies") or {}
    total, available = copies.get("total", 0), copies.get("available", 0)
    if total and available == total:
        return ""
    jobs = f"kubectl logs --namespace kserve-localmodel-jobs --selector model={item['metadata']['name']}"
    return f"{available} of {total} nodes have it" + (f": {jobs}" if copies.get("failed") else "")


def model_reasons(item: Object, serving: list[Object], runtimes: dict[str, Object]) -> Iterator[str]:
    """Its own observedGeneration says nothing: KServe copies that of the object behind it there.

    So the object behind it is compared with what was asked for: the image, and on Knative the version.
    """
    predictor = item["spec"]["predictor"]
    backing = next((other for other in serving if other["metadata"]["name"] == PREDICTOR), None)
    if backing is None and not (serving and predictor.get("name")):
        yield f"KServe has not made {PREDICTOR} yet"
    for other in serving:
        if reason := not_ready_reason(other):
            yield f"{other['metadata']['name']}: {reason}"
    if backing is not None:
        runtime = runtimes.get((predictor.get("model") or {}).get("runtime", ""))
        template = backing["spec"]["template"]
        if runtime and server_image(template["spec"]) != server_image(runtime["spec"]):
            yield "KServe has not passed the new image on yet"
        version = (template["metadata"].get("annotations") or {}).get(MODEL_VERSION_ANNOTATION)
        if backing["kind"] == "Service" and version != (predictor.get("annotations") or {}).get(
            MODEL_VERSION_ANNOTATION
        ):
            yield "KServe has not passed the version on yet"
    ready = condition(item, "Ready")
    if ready.get("status") != "True":
        yield condition_text(ready)


def server_image(pod: Object) -> str:
    """The model server's, and not that of the containers that KServe and Knative add."""
    images = {container["name"]: str(container.get("image", "")) for container in pod["containers"]}
    return images.get("kserve-container", "")


def condition(item: Object, name: str) -> Object:
    conditions: list[Object] = (item.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == name), {})


def condition_text(condition: Object) -> str:
    text = " ".join(f"{condition.get('reason') or ''} {condition.get('message') or ''}".split())
    return text[:MAX_REASON] or "not ready yet"
