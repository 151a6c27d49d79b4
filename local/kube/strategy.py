"""What the API sets on an object as it is written: identity, generation, the split of spec and status."""

from __future__ import annotations

import base64
import copy
import re
import secrets
from typing import Any

from local.kube.errors import bad_request, conflict, invalid
from local.kube.resources import Object, Resource

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_IDENTITY = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
_NOT_SPEC = {"metadata", "status", "apiVersion", "kind"}


def require_type(resource: Resource, body: Any, *, complete: bool = True) -> Object:
    """The body as an object of this resource; 400 when it is of another kind or none."""
    if not isinstance(body, dict):
        raise bad_request("the body is not a JSON object")
    for name, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        actual = body.get(name, "")
        if actual != expected and (actual or (complete and resource.custom)):
            raise bad_request(
                f"the {name} in the data ({actual or 'none'}) does not match the expected {name} ({expected})"
            )
    if not isinstance(body.get("metadata", {}), dict):
        raise bad_request("metadata is not an object")
    return body


def prepare_for_create(resource: Resource, body: Object, namespace: str, uid: str, now: str) -> Object:
    """The object that a create makes of a body: named, identified, without status where that is a subresource."""
    item = _with_type(resource, body)
    metadata = item["metadata"]
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
    name = metadata.get("name", "")
    if not name:
        raise invalid(resource, "", [("metadata.name", "Required value: name or generateName is required")])
    if not NAME.fullmatch(name) or len(name) > 253:
        rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        raise invalid(resource, name, [("metadata.name", f'Invalid value: "{name}": {rule}')])
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    if resource.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)  # kustomize writes one into every kind that it does not know
    for field in _IDENTITY:
        metadata.pop(field, None)
    metadata |= {"uid": uid, "creationTimestamp": now}
    if resource.custom:
        metadata["generation"] = 1
        if resource.has_status:
            item.pop("status", None)
    return _with_defaults(resource, item)


def prepare_for_update(resource: Resource, old: Object, body: Object, subresource: str) -> Object:
    """The object that an update makes of `old`; raises 409 for another uid, 422 for another name.

    Through the main path the status stays as it was, through /status everything but the status does.
    """
    name = old["metadata"]["name"]
    if subresource == "status":
        item = copy.deepcopy(old)
        item.pop("status", None)
        if body.get("status") is not None:
            item["status"] = copy.deepcopy(body["status"])
        return item
    item = _with_type(resource, body)
    metadata, before = item["metadata"], old["metadata"]
    if metadata.get("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if metadata.get("uid", before["uid"]) != before["uid"]:
        raise conflict(resource, name, f"Precondition failed: UID in object is {before['uid']}")
    metadata["name"] = name
    if resource.namespaced:
        metadata["namespace"] = before["namespace"]
    else:
        metadata.pop("namespace", None)
    for field in _IDENTITY:
        metadata.pop(field, None)
        if field in before:
            metadata[field] = before[field]
    if resource.has_status:
        item.pop("status", None)
        if "status" in old:
            item["status"] = old["status"]
    item = _with_defaults(resource, item)
    if resource.custom and _spec(item) != _spec(old):
        item["metadata"]["generation"] = before.get("generation", 0) + 1
    return item


def drop_nulls(value: Any) -> Any:
    """A field that is null is a field that is absent."""
    if isinstance(value, dict):
        return {name: drop_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [drop_nulls(inner) for inner in value]
    return value


def _with_type(resource: Resource, body: Object) -> Object:
    item = {"apiVersion": resource.api_version, "kind": resource.kind, **copy.deepcopy(body)}
    item["metadata"] = item.get("metadata") or {}
    return item


def _spec(item: Object) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in _NOT_SPEC}


def _with_defaults(resource: Resource, item: Object) -> Object:
    """The few defaults that clients read back."""
    if (resource.group, resource.kind) == ("", "Secret"):
        item.setdefault("type", "Opaque")
        for name, text in (item.pop("stringData", None) or {}).items():
            item.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()
    elif (resource.group, resource.kind) == ("", "Namespace"):
        item["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = item["metadata"]["name"]
        item.setdefault("spec", {"finalizers": ["kubernetes"]})
        item.setdefault("status", {"phase": "Active"})
    elif resource.kind == "Broker":
        annotations = item["metadata"].setdefault("annotations", {})
        annotations.setdefault("eventing.knative.dev/broker.class", "MTChannelBasedBroker")
    return item
