"""The HTTP form of the store: the paths, verbs, media types and Status errors of a Kubernetes API server."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from local.kube import discovery, errors, strategy, tables
from local.kube.errors import StatusError
from local.kube.requests import (
    PATCH_TYPES,
    RequestInfo,
    bool_parameter,
    decode,
    int_parameter,
    media_type,
    parse_path,
    read_body,
    write_options,
)
from local.kube.resources import NAMESPACE, Object, Resource
from local.kube.store import ResourceStore
from local.kube.watch import DEFAULT_SECONDS, ChangeNotifier, WatchOptions, event_stream
from local.storage import StorageError

log = logging.getLogger(__name__)

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def make_app(store: ResourceStore, token: str, pages: Mapping[str, Callable[[], Any]] | None = None) -> Starlette:
    """The ASGI app. `app.state.change_notifier.close()` ends its watches, which a server must do before it can stop.

    `pages` are further paths, whose functions return JSON for whoever has the token.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.change_notifier = ChangeNotifier()
        stop = store.on_write(app.state.change_notifier.notify)
        keeper = asyncio.create_task(_finalize_namespaces_forever(store))
        yield
        keeper.cancel()
        stop()

    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok")

    async def version(_request: Request) -> Response:
        return _json_response(discovery.version())

    async def api(request: Request) -> Response:
        try:
            _authenticate(request, token)
            return await _dispatch(store, request)
        except StatusError as error:
            return _json_response(error.status(), error.code)
        except StorageError as error:
            refused = _json_response(errors.unavailable(str(error)).status(), 503)
            refused.headers["Retry-After"] = "1"
            return refused
        except RecursionError:
            return _json_response(errors.bad_request("the body is nested too deeply").status(), 400)
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            return _json_response(
                StatusError(500, "InternalError", "the embedded platform failed; its log says why").status(), 500
            )

    async def page(request: Request) -> Response:
        try:
            _authenticate(request, token)
        except StatusError as error:
            return _json_response(error.status(), error.code)
        return _json_response((pages or {})[request.url.path]())

    return Starlette(
        routes=[
            *(Route(path, page) for path in pages or ()),
            *(Route(path, health) for path in ("/healthz", "/livez", "/readyz")),
            Route("/version", version),
            Route("/{path:path}", api, methods=METHODS),
        ],
        lifespan=lifespan,
    )


async def _finalize_namespaces_forever(store: ResourceStore) -> None:
    while True:
        try:
            await run_in_threadpool(store.finalize_namespaces)
        except StorageError as error:
            log.debug("namespaces are finalized later: %s", error)
        except Exception:  # the next round may succeed
            log.exception("namespaces could not be finalized")
        await asyncio.sleep(0.5)


def _authenticate(request: Request, token: str) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise errors.unauthorized()


async def _dispatch(store: ResourceStore, request: Request) -> Response:
    document = _discovery_document(request.url.path)
    if document is not None:
        return _json_response(document)
    target = parse_path(request.url.path)
    if request.method == "GET":
        if bool_parameter(request, "watch"):
            return _watch(store, request, target)
        if not target.name:
            return await run_in_threadpool(_list, store, request, target)
        item = await run_in_threadpool(store.get, target.resource, target.name, target.namespace or "")
        return _object_response(request, target.resource, item)
    body = await read_body(request)
    handler = {"POST": _post, "PUT": _put, "PATCH": _patch, "DELETE": _delete}.get(request.method)
    if handler is None:
        raise errors.method_not_allowed(request.method)
    return await run_in_threadpool(handler, store, request, target, body)


def _discovery_document(path: str) -> dict[str, Any] | None:
    """Discovery and OpenAPI; None for every other path."""
    match path.strip("/").split("/"):
        case ["api"]:
            return discovery.api_versions()
        case ["apis"]:
            return discovery.group_list()
        case ["apis", group]:
            return discovery.group(group)
        case ["api", version]:
            return discovery.resource_list("", version)
        case ["apis", group, version]:
            return discovery.resource_list(group, version)
        case ["openapi", "v3"]:
            return discovery.openapi_index()
        case ["openapi", "v3", "api", version]:
            return discovery.openapi("", version)
        case ["openapi", "v3", "apis", group, version]:
            return discovery.openapi(group, version)
    return None


def _list(store: ResourceStore, request: Request, target: RequestInfo) -> Response:
    query, resource = request.query_params, target.resource
    listing = store.list(
        resource,
        target.namespace,
        labels=query.get("labelSelector", ""),
        fields=query.get("fieldSelector", ""),
        limit=int_parameter(request, "limit") or 0,
        continue_token=query.get("continue", ""),
    )
    metadata: dict[str, Any] = {"resourceVersion": str(listing.version)}
    if listing.continue_token:
        metadata |= {"continue": listing.continue_token, "remainingItemCount": listing.remaining}
    if _accepted_form(request) == "Table":
        return _json_response(tables.table(resource, listing.items, metadata, whole=_include_object(request)))
    if _accepted_form(request) == "PartialObjectMetadataList":
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return _json_response(
            {**head, "metadata": metadata, "items": [tables.partial_object_metadata(item) for item in listing.items]}
        )
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return _json_response({**head, "metadata": metadata, "items": listing.items})


def _watch(store: ResourceStore, request: Request, target: RequestInfo) -> Response:
    query = request.query_params
    since, fields = int_parameter(request, "resourceVersion"), query.get("fieldSelector", "")
    initial = query.get("sendInitialEvents")
    if initial and query.get("resourceVersionMatch") != "NotOlderThan":
        raise errors.bad_request("sendInitialEvents needs resourceVersionMatch=NotOlderThan")
    if target.name:
        fields = ",".join(filter(None, (fields, f"metadata.name={target.name}")))
    watch = WatchOptions(
        target,
        labels=query.get("labelSelector", ""),
        fields=fields,
        since=None if initial == "true" or (not since and initial is None) else since or store.version,
        seconds=int_parameter(request, "timeoutSeconds") or DEFAULT_SECONDS,
        bookmarks=bool_parameter(request, "allowWatchBookmarks"),
        mark_initial=initial == "true" and bool_parameter(request, "allowWatchBookmarks"),
    )
    form: Callable[[Object], Any] = lambda item: item  # noqa: E731
    if _accepted_form(request) == "Table":
        whole = _include_object(request)

        def form(item: Object) -> Any:
            version = {"resourceVersion": item["metadata"]["resourceVersion"]}
            return tables.table(target.resource, [item], version, whole=whole)

    events = event_stream(store, request.app.state.change_notifier, watch, form)
    return StreamingResponse(events, media_type="application/json")


def _post(store: ResourceStore, request: Request, target: RequestInfo, body: bytes) -> Response:
    if target.name:
        raise errors.method_not_allowed("POST")
    options, resource = write_options(request), target.resource
    item = _typed(resource, decode(body, media_type(request)))
    stated_namespace = (item.get("metadata") or {}).get("namespace")
    if stated_namespace and target.namespace and stated_namespace != target.namespace:
        raise errors.bad_request(
            f"the namespace of the object ({stated_namespace}) does not match the namespace on the request "
            f"({target.namespace})"
        )
    if resource.namespaced and target.namespace is None:
        raise errors.method_not_allowed("POST")
    created = store.create(item, target.namespace or "", options)
    return _object_response(request, resource, created, 201, options.warnings)


def _put(store: ResourceStore, request: Request, target: RequestInfo, body: bytes) -> Response:
    if not target.name:
        raise errors.method_not_allowed("PUT")
    options, resource = write_options(request), target.resource
    item = _typed(resource, decode(body, media_type(request)))
    metadata = item.get("metadata") or {}
    if metadata.get("name", target.name) != target.name:
        raise errors.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
    item["metadata"] = {**metadata, "name": target.name, "namespace": target.namespace or ""}
    if target.subresource == "finalize":
        store.get(resource, target.name)
        return _object_response(request, resource, item)
    updated = store.update(item, options, subresource=target.subresource)
    return _object_response(request, resource, updated, 200, options.warnings)


def _patch(store: ResourceStore, request: Request, target: RequestInfo, body: bytes) -> Response:
    if not target.name:
        raise errors.method_not_allowed("PATCH")
    resource, media = target.resource, media_type(request)
    kind = PATCH_TYPES.get(media)
    if kind is None or (kind == "strategic" and resource.custom):
        # As on a cluster: nobody knows the merge keys of a custom resource's lists.
        raise errors.unsupported_media_type([m for m in PATCH_TYPES if not (resource.custom and "strategic" in m)])
    options = write_options(request)
    if kind == "apply" and "fieldManager" not in request.query_params:
        raise errors.bad_request("fieldManager is required for apply patch")
    item, created = store.patch(
        resource,
        target.name,
        decode(body, media),
        target.namespace or "",
        type=kind,
        options=options,
        subresource=target.subresource,
    )
    return _object_response(request, resource, item, 201 if created else 200, options.warnings)


def _delete(store: ResourceStore, request: Request, target: RequestInfo, body: bytes) -> Response:
    body_options = decode(body, media_type(request)) if body.strip() else {}
    if not isinstance(body_options, dict):
        raise errors.bad_request("the body is not DeleteOptions")
    query, resource, options = request.query_params, target.resource, write_options(request)
    options.dry_run = options.dry_run or body_options.get("dryRun") == ["All"]
    orphan = (body_options.get("propagationPolicy") or query.get("propagationPolicy")) == "Orphan"
    if not target.name:
        return _delete_collection(store, request, target, orphan)
    preconditions = body_options.get("preconditions") or {}
    deleted = store.delete(
        resource,
        target.name,
        target.namespace or "",
        uid=preconditions.get("uid") or "",
        version=preconditions.get("resourceVersion") or "",
        orphan=orphan,
        options=options,
    )
    if deleted["metadata"].get("deletionTimestamp"):
        return _json_response(deleted)
    return _json_response(errors.success(resource, target.name, deleted["metadata"]["uid"]))


def _delete_collection(store: ResourceStore, request: Request, target: RequestInfo, orphan: bool) -> Response:
    query, resource, options = request.query_params, target.resource, write_options(request)
    if resource == NAMESPACE:
        raise errors.method_not_allowed("DELETE")
    listing = store.list(
        resource,
        target.namespace,
        labels=query.get("labelSelector", ""),
        fields=query.get("fieldSelector", ""),
    )
    for item in listing.items:
        metadata = item["metadata"]
        store.delete(resource, metadata["name"], metadata.get("namespace", ""), orphan=orphan, options=options)
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return _json_response({**head, "metadata": {"resourceVersion": str(listing.version)}, "items": listing.items})


def _typed(resource: Resource, body: Any) -> Object:
    item = strategy.require_type(resource, body)
    return {**item, "apiVersion": resource.api_version, "kind": resource.kind}


def _accepted_form(request: Request) -> str:
    """The first form in Accept that is served: Table, PartialObjectMetadata(List), or "" for the object itself."""
    for entry in request.headers.get("accept", "").split(","):
        media, *raw_parameters = (part.strip() for part in entry.split(";"))
        if media not in ("application/json", "*/*", "application/*"):
            continue
        parameters = dict(part.partition("=")[::2] for part in raw_parameters)
        if parameters.get("as") and (parameters.get("g"), parameters.get("v")) != ("meta.k8s.io", "v1"):
            continue
        return parameters.get("as", "")
    return ""


def _include_object(request: Request) -> bool:
    return request.query_params.get("includeObject", "Metadata") == "Object"


def _object_response(
    request: Request, resource: Resource, item: Object, code: int = 200, warnings: list[str] | None = None
) -> Response:
    form = _accepted_form(request)
    if form == "Table":
        version = {"resourceVersion": item["metadata"]["resourceVersion"]}
        item = tables.table(resource, [item], version, whole=_include_object(request))
    elif form == "PartialObjectMetadata":
        item = tables.partial_object_metadata(item)
    response = _json_response(item, code)
    for warning in warnings or ():
        text = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.append("Warning", f'299 - "{text}"')
    return response


def _json_response(content: Any, code: int = 200) -> Response:
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(body, code, media_type="application/json")
