"""Revisions of a Knative Service: when its template creates a new one, and the name it gets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from local.kube.resources import Object

SERVICE_LABEL = "serving.knative.dev/service"
CONFIGURATION_LABEL = "serving.knative.dev/configuration"
GENERATION_LABEL = "serving.knative.dev/configurationGeneration"
_API = "serving.knative.dev/v1"


def generation(revision: Object) -> int:
    """The number of a revision among its service's."""
    return int(revision["metadata"].get("labels", {}).get(GENERATION_LABEL, "0"))


def of_service(revisions: Sequence[Object], service: Object) -> list[Object]:
    """A service's revisions, oldest first."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    owned = [
        item
        for item in revisions
        if item["metadata"]["namespace"] == namespace
        and item["metadata"].get("labels", {}).get(SERVICE_LABEL) == name
        and any(owner.get("uid") == service["metadata"]["uid"] for owner in item["metadata"].get("ownerReferences", ()))
    ]
    return sorted(owned, key=generation)


def next_revision(service: Object, existing: Sequence[Object]) -> Object | None:
    """The Revision to create, None if the newest one already matches the template.

    Only `spec.template` counts: the service's own traffic, labels and annotations do not create a revision. The name is
    the template's own, or `<service>-00001` and so on.
    """
    metadata = service["metadata"]
    template = (service.get("spec") or {}).get("template") or {}
    if existing and _same(existing[-1], template):
        return None
    number = 1 + max((generation(item) for item in existing), default=_last_number(service))
    metadata_template: dict[str, Any] = template.get("metadata") or {}
    revision: Object = {
        "apiVersion": _API,
        "kind": "Revision",
        "metadata": {
            "name": metadata_template.get("name") or f"{metadata['name']}-{number:05d}",
            "namespace": metadata["namespace"],
            "labels": {
                **(metadata_template.get("labels") or {}),
                SERVICE_LABEL: metadata["name"],
                CONFIGURATION_LABEL: metadata["name"],
                GENERATION_LABEL: str(number),
            },
            "ownerReferences": [owner(service)],
        },
        "spec": template.get("spec") or {},
    }
    if metadata_template.get("annotations"):
        revision["metadata"]["annotations"] = dict(metadata_template["annotations"])
    return revision


def owner(item: Object) -> dict[str, Any]:
    """An ownerReference to an object."""
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "name": item["metadata"]["name"],
        "uid": item["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _same(revision: Object, template: dict[str, Any]) -> bool:
    metadata_template = template.get("metadata") or {}
    metadata = revision["metadata"]
    own = {SERVICE_LABEL, CONFIGURATION_LABEL, GENERATION_LABEL}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key not in own}
    return (
        revision.get("spec") == (template.get("spec") or {})
        and (metadata.get("annotations") or {}) == (metadata_template.get("annotations") or {})
        and labels == (metadata_template.get("labels") or {})
        and metadata_template.get("name", metadata["name"]) == metadata["name"]
    )


def _last_number(service: Object) -> int:
    """The last revision number, if all revisions were deleted."""
    last = ((service.get("status") or {}).get("latestCreatedRevisionName") or "").rpartition("-")[2]
    return int(last) if len(last) == 5 and last.isdecimal() else 0
