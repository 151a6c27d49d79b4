"""What a request asks for: the resource its path names, its body, its options. No I/O but reading the body."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml
from starlette.requests import Request

from local.kube import errors, protobuf
from local.kube.errors import StatusError
from local.kube.resources import NAMESPACE, Resource, by_path
from local.kube.store import PatchType, WriteOptions
from local.yaml_loader import StringDateLoader

MAX_BODY = 3 * 1024 * 1024
PATCH_TYPES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a path names. `namespace` is None for all of them, `name` "" for a collection."""

    resource: Resource
    namespace: str | None = None
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> RequestInfo:
    """/api/v1/… and /apis/{group}/{version}/…; StatusError 404 for any other."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise errors.no_such_path()
    namespace = None
    if rest[:1] == ["namespaces"] and (len(rest) > 2) and by_path(group, version, rest[2]):
        namespace, rest = rest[1], rest[2:]
    resource = by_path(group, version, rest[0]) if rest else None
    name, subresource = (*rest[1:], "", "")[:2]
    subresources = ("", "status") if resource and resource.has_status else ("",)
    if (
        resource is None
        or len(rest) > 3
        or (subresource not in subresources and not (resource == NAMESPACE and subresource == "finalize"))
        or (namespace is not None and not resource.namespaced)
        or (name and resource.namespaced and namespace is None)
    ):
        raise errors.no_such_path()
    return RequestInfo(resource, namespace, name, subresource)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """The whole body; StatusError 413 beyond MAX_BODY."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise StatusError(413, "RequestEntityTooLarge", f"the body is larger than {MAX_BODY} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def decode(body: bytes, media: str) -> Any:
    """JSON, YAML or a core kind's protobuf; StatusError 415 for anything else, 400 for what it cannot be read as."""
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    if media not in ("application/json", "application/yaml", *PATCH_TYPES):
        raise errors.unsupported_media_type(("application/json", "application/yaml"))
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        if not media.endswith("yaml"):
            raise errors.bad_request(f"the body is not JSON: {error}") from None
        try:
            value = yaml.load(body, StringDateLoader)  # a safe loader
        except (yaml.YAMLError, ValueError, RecursionError) as problem:
            raise errors.bad_request(f"the body is not YAML: {' '.join(str(problem).split())}") from None
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        # Python reads NaN, lone surrogates and YAML's sets, but no client could read them back.
        raise errors.bad_request(f"the body holds what JSON cannot: {error}") from None
    return value


def bool_parameter(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("true", "1")


def int_parameter(request: Request, name: str) -> int | None:
    """A query parameter that is a whole number; StatusError 400 when it is not one."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise errors.bad_request(f"{name}={text!r} is not a number")
    return int(text)


def write_options(request: Request) -> WriteOptions:
    """fieldManager, fieldValidation, dryRun and force of a request; a manager not named is the client's own name."""
    query = request.query_params
    validation = query.get("fieldValidation", "Warn")
    if validation not in ("Strict", "Warn", "Ignore"):
        raise errors.bad_request(f"fieldValidation={validation!r} is not one of Strict, Warn, Ignore")
    if query.get("dryRun", "All") != "All":
        raise errors.bad_request("dryRun can only be All")
    agent = request.headers.get("user-agent", "").partition("/")[0].strip()
    return WriteOptions(
        manager=query.get("fieldManager") or agent[:128] or "unknown",
        dry_run="dryRun" in query,
        field_validation=validation,  # type: ignore[arg-type]
        force=bool_parameter(request, "force"),
    )
