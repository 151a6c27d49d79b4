"""What of the deployed objects is not ready yet: a line each, and none when all are.

    deploy_ready.py LIVE.json BEHIND.json

LIVE: what `kubectl get --filename` answers for the objects that were applied. BEHIND: what KServe made for the
InferenceService, a Knative Service or Deployments. Exit status 1: the line names what will not become ready by itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Object = dict[str, Any]

PREDICTOR = "coding-mcqa-predictor"
VERSION = "coding-mcqa/model-version"
NAMES = {
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


class FailedError(Exception):
    """It will not become ready, however long one waits."""


def missing(live: list[Object], behind: list[Object]) -> Iterator[str]:
    """Lines "what: why", in the order in which things become ready."""
    order = list(NAMES)
    for item in sorted((one for one in live if kind(one) in NAMES), key=lambda one: order.index(kind(one))):
        if why := reason(item):
            yield f"{NAMES[kind(item)]} {item['metadata']['name']}: {why}"
    runtimes = {one["metadata"]["name"]: one for one in live if one["kind"] == "ServingRuntime"}
    for item in live:
        if item["kind"] == "InferenceService":
            yield from inference_service(item, behind, runtimes)


def kind(item: Object) -> str:
    return f"{item['apiVersion'].partition('/')[0]}/{item['kind']}"


def reason(item: Object) -> str:
    """Why an object is not ready; "" when it is."""
    status = item.get("status") or {}
    if item["kind"] == "Job":
        if (failed := condition(item, "Failed")).get("status") == "True":
            name = item["metadata"]["name"]
            raise FailedError(f"Job {name}: {said(failed)}: kubectl logs --namespace coding-mcqa job/{name}")
        return "" if condition(item, "Complete").get("status") == "True" else "has not ended yet"
    if item["kind"] == "LocalModelCache":
        return cached(item)
    seen = status.get("observedGeneration")
    if seen is not None and seen != item["metadata"].get("generation"):
        return "the change was not seen yet"
    if item["kind"] in ("Deployment", "StatefulSet"):
        return rollout(item)
    found = condition(item, "Ready")
    return "" if found.get("status") == "True" else said(found)


def rollout(item: Object) -> str:
    """As `kubectl rollout status` has it: Available stays true while a Deployment's new pods do not start."""
    status, wanted = item.get("status") or {}, item["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    if status.get("observedGeneration") is None or updated < wanted:
        return f"{updated} of {wanted} pods are of the new version"
    if status.get("replicas", 0) > updated and item["kind"] == "Deployment":
        return "pods of the old version are still there"
    ready = status.get("availableReplicas" if item["kind"] == "Deployment" else "readyReplicas", 0)
    return "" if ready >= wanted else f"{ready} of {wanted} pods are ready"


def cached(item: Object) -> str:
    """Its job tries a few times, and KServe never again: a copy that failed wants somebody to look."""
    copies = (item.get("status") or {}).get("copies") or {}
    total, available = copies.get("total", 0), copies.get("available", 0)
    if total and available == total:
        return ""
    jobs = f"kubectl logs --namespace kserve-localmodel-jobs --selector model={item['metadata']['name']}"
    return f"{available} of {total} nodes have it" + (f": {jobs}" if copies.get("failed") else "")


def inference_service(item: Object, behind: list[Object], runtimes: dict[str, Object]) -> Iterator[str]:
    """Its own observedGeneration says nothing: KServe copies that of the object behind it there.

    So the object behind it is compared with what was asked for: the image, and on Knative the version.
    """
    predictor = item["spec"]["predictor"]
    made = next((one for one in behind if one["metadata"]["name"] == PREDICTOR), None)
    if made is None and not (behind and predictor.get("name")):
        yield f"model: KServe has not made {PREDICTOR} yet"
    for one in behind:
        if why := reason(one):
            yield f"model: {one['metadata']['name']}: {why}"
    if made is not None:
        asked = runtimes.get((predictor.get("model") or {}).get("runtime", ""))
        template = made["spec"]["template"]
        if asked and image(template["spec"]) != image(asked["spec"]):
            yield "model: KServe has not passed the new image on yet"
        given = (template["metadata"].get("annotations") or {}).get(VERSION)
        if made["kind"] == "Service" and given != (predictor.get("annotations") or {}).get(VERSION):
            yield "model: KServe has not passed the version on yet"
    found = condition(item, "Ready")
    if found.get("status") != "True":
        yield f"model: {said(found)}"


def image(pod: Object) -> str:
    """The model server's, beside which KServe and Knative put containers of their own."""
    found = {one["name"]: str(one.get("image", "")) for one in pod["containers"]}
    return found.get("kserve-container", "")


def condition(item: Object, name: str) -> Object:
    conditions: list[Object] = (item.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == name), {})


def said(found: Object) -> str:
    text = " ".join(f"{found.get('reason') or ''} {found.get('message') or ''}".split())
    return text[:200] or "not ready yet"


def objects(path: str) -> list[Object]:
    text = Path(path).read_text()
    found: Object = json.loads(text) if text.strip() else {"items": []}
    items: list[Object] = found.get("items", [found])
    return items


def main(live: str, behind: str) -> int:
    try:
        lines = list(missing(objects(live), objects(behind)))
    except FailedError as error:
        print(error)
        return 1
    for line in lines:
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:3]))
