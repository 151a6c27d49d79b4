"""What the API says about itself: groups, resources, version, and the OpenAPI that kubectl reads before it applies."""

from __future__ import annotations

from typing import Any

from local.kube.resources import RESOURCES, Resource, groups
from local.kube.schemas import SCHEMAS

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
KUBERNETES = (1, 32)
Document = dict[str, Any]


def version() -> Document:
    """GET /version: the Kubernetes release whose behaviour is followed; the build says that this is not a cluster."""
    major, minor = KUBERNETES
    return {
        "major": str(major),
        "minor": str(minor),
        "gitVersion": f"v{major}.{minor}.0+embedded",
        "platform": "embedded",
    }


def api_versions() -> Document:
    """GET /api."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list() -> Document:
    """GET /apis."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups()]}


def group(name: str) -> Document | None:
    """GET /apis/{name}."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)} if name in groups() else None


def resource_list(group: str, version: str) -> Document | None:
    """GET /api/v1 and /apis/{group}/{version}."""
    served = _served(group, version)
    if not served:
        return None
    entries: list[Document] = []
    for resource in served:
        common = {"namespaced": resource.namespaced, "kind": resource.kind}
        entry = {"name": resource.plural, "singularName": resource.kind.lower(), **common, "verbs": list(VERBS)}
        if resource.short:
            entry["shortNames"] = list(resource.short)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        entries.append(entry)
        if resource.has_status:
            verbs = ["get", "patch", "update"]
            entries.append({"name": f"{resource.plural}/status", "singularName": "", **common, "verbs": verbs})
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": entries,
    }


def openapi_index() -> Document:
    """GET /openapi/v3."""
    paths = {_path(resource): f"/openapi/v3/{_path(resource)}" for resource in RESOURCES}
    return {"paths": {path: {"serverRelativeURL": url} for path, url in paths.items()}}


def openapi(group: str, version: str) -> Document | None:
    """GET /openapi/v3/apis/{group}/{version}: which kinds exist, their known fields, and that PATCH validates fields.

    kubectl leaves field validation to the server only where the PATCH operation has the parameter `fieldValidation`.
    """
    served = _served(group, version)
    if not served:
        return None
    schemas, paths = {}, {}
    for resource in served:
        gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        name = ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind]).lstrip(".")
        schema = SCHEMAS[resource.group, resource.kind]
        schemas[name] = {**schema, "x-kubernetes-group-version-kind": [gvk]}
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
        operation = {"responses": {"200": {"description": "OK", "content": content}}}
        scope = "namespaces/{namespace}/" if resource.namespaced else ""
        parameters = [{"name": q, "in": "query", "schema": {"type": "string"}} for q in ("fieldValidation", "dryRun")]
        paths[f"/{_path(resource)}/{scope}{resource.plural}/{{name}}"] = {
            "get": {**operation, "x-kubernetes-action": "get", "x-kubernetes-group-version-kind": gvk},
            "patch": {
                **operation,
                "parameters": parameters,
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": gvk,
            },
        }
    info = {"title": "coding-mcqa embedded platform", "version": "v1"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _group(name: str) -> Document:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in groups()[name]]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _served(group: str, version: str) -> list[Resource]:
    return [resource for resource in RESOURCES if (resource.group, resource.version) == (group, version)]


def _path(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
