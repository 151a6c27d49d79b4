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

from local.kube import discovery, errors, objects, tables
from local.kube.errors import ApiError
from local.kube.requests import (
    PATCHES,
    Target,
    decode,
    flag,
    media_type,
    number,
    parse_path,
    read_body,
    write_options,
)
from local.kube.resources import NAMESPACE, Object, Resource
from local.kube.store import Store
from local.kube.watching import DEFAULT_SECONDS, Ticks, Watch, stream
from local.storage import StorageError

log = logging.getLogger(__name__)

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def make_app(store: Store, token: str, pages: Mapping[str, Callable[[], Any]] | None = None) -> Starlette:
    """The ASGI app. `app.state.ticks.close()` ends its watches, which a server must do before it can stop.

    `pages` are further paths, whose functions give JSON to whoever has the token.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.ticks = Ticks()
        stop = store.listen(app.state.ticks.tick)
        keeper = asyncio.create_task(_keep_house(store))
        yield
        keeper.cancel()
        stop()

    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok")

    async def version(_request: Request) -> Response:
        return _json(discovery.version())

    async def api(request: Request) -> Response:
        try:
            _authorise(request, token)
            return await _answer(store, request)
        except ApiError as error:
            return _json(error.status(), error.code)
        except StorageError as error:
            refused = _json(errors.unavailable(str(error)).status(), 503)
            refused.headers["Retry-After"] = "1"
            return refused
        except RecursionError:
            return _json(errors.bad_request("the body is nested too deeply").status(), 400)
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            return _json(ApiError(500, "InternalError", "the embedded platform failed; its log says why").status(), 500)

    async def page(request: Request) -> Response:
        try:
            _authorise(request, token)
        except ApiError as error:
            return _json(error.status(), error.code)
        return _json((pages or {})[request.url.path]())

    return Starlette(
        routes=[
            *(Route(path, page) for path in pages or ()),
            *(Route(path, health) for path in ("/healthz", "/livez", "/readyz")),
            Route("/version", version),
            Route("/{path:path}", api, methods=METHODS),
        ],
        lifespan=lifespan,
    )


async def _keep_house(store: Store) -> None:
    while True:
        try:
            await run_in_threadpool(store.finish_namespaces)
        except StorageError as error:
            log.debug("namespaces are finished later: %s", error)
        except Exception:  # the next round may succeed
            log.exception("namespaces could not be finished")
        await asyncio.sleep(0.5)


def _authorise(request: Request, token: str) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise errors.unauthorized()


async def _answer(store: Store, request: Request) -> Response:
    document = _document(request.url.path)
    if document is not None:
        return _json(document)
    target = parse_path(request.url.path)
    if request.method == "GET":
        if flag(request, "watch"):
            return _watch(store, request, target)
        if not target.name:
            return await run_in_threadpool(_list, store, request, target)
        found = await run_in_threadpool(store.get, target.resource, target.name, target.namespace or "")
        return _object(request, target.resource, found)
    body = await read_body(request)
    handler = {"POST": _post, "PUT": _put, "PATCH": _patch, "DELETE": _delete}.get(request.method)
    if handler is None:
        raise errors.method_not_allowed(request.method)
    return await run_in_threadpool(handler, store, request, target, body)


def _document(path: str) -> dict[str, Any] | None:
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


def _list(store: Store, request: Request, target: Target) -> Response:
    query, resource = request.query_params, target.resource
    listing = store.list(
        resource,
        target.namespace,
        labels=query.get("labelSelector", ""),
        fields=query.get("fieldSelector", ""),
        limit=number(request, "limit") or 0,
        proceed=query.get("continue", ""),
    )
    metadata: dict[str, Any] = {"resourceVersion": str(listing.version)}
    if listing.proceed:
        metadata |= {"continue": listing.proceed, "remainingItemCount": listing.remaining}
    if _wanted(request) == "Table":
        return _json(tables.table(resource, listing.items, metadata, whole=_whole(request)))
    if _wanted(request) == "PartialObjectMetadataList":
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return _json({**head, "metadata": metadata, "items": [tables.partial(item) for item in listing.items]})
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return _json({**head, "metadata": metadata, "items": listing.items})


def _watch(store: Store, request: Request, target: Target) -> Response:
    query = request.query_params
    since, fields = number(request, "resourceVersion"), query.get("fieldSelector", "")
    initial = query.get("sendInitialEvents")
    if initial and query.get("resourceVersionMatch") != "NotOlderThan":
        raise errors.bad_request("sendInitialEvents needs resourceVersionMatch=NotOlderThan")
    if target.name:
        fields = ",".join(filter(None, (fields, f"metadata.name={target.name}")))
    watch = Watch(
        target,
        labels=query.get("labelSelector", ""),
        fields=fields,
        since=None if initial == "true" or (not since and initial is None) else since or store.version,
        seconds=number(request, "timeoutSeconds") or DEFAULT_SECONDS,
        bookmarks=flag(request, "allowWatchBookmarks"),
        mark_initial=initial == "true" and flag(request, "allowWatchBookmarks"),
    )
    form: Callable[[Object], Any] = lambda item: item  # noqa: E731
    if _wanted(request) == "Table":
        whole = _whole(request)

        def form(item: Object) -> Any:
            version = {"resourceVersion": item["metadata"]["resourceVersion"]}
            return tables.table(target.resource, [item], version, whole=whole)

    events = stream(store, request.app.state.ticks, watch, form)
    return StreamingResponse(events, media_type="application/json")


def _post(store: Store, request: Request, target: Target, body: bytes) -> Response:
    if target.name:
        raise errors.method_not_allowed("POST")
    write, resource = write_options(request), target.resource
    item = _typed(resource, decode(body, media_type(request)))
    stated = (item.get("metadata") or {}).get("namespace")
    if stated and target.namespace and stated != target.namespace:
        raise errors.bad_request(
            f"the namespace of the object ({stated}) does not match the namespace on the request ({target.namespace})"
        )
    if resource.namespaced and target.namespace is None:
        raise errors.method_not_allowed("POST")
    made = store.create(item, target.namespace or "", write)
    return _object(request, resource, made, 201, write.warnings)


def _put(store: Store, request: Request, target: Target, body: bytes) -> Response:
    if not target.name:
        raise errors.method_not_allowed("PUT")
    write, resource = write_options(request), target.resource
    item = _typed(resource, decode(body, media_type(request)))
    stated = item.get("metadata") or {}
    if stated.get("name", target.name) != target.name:
        raise errors.bad_request(
            f"the name of the object ({stated['name']}) does not match the name on the URL ({target.name})"
        )
    item["metadata"] = {**stated, "name": target.name, "namespace": target.namespace or ""}
    if target.subresource == "finalize":
        store.get(resource, target.name)
        return _object(request, resource, item)
    made = store.update(item, write, subresource=target.subresource)
    return _object(request, resource, made, 200, write.warnings)


def _patch(store: Store, request: Request, target: Target, body: bytes) -> Response:
    if not target.name:
        raise errors.method_not_allowed("PATCH")
    resource, media = target.resource, media_type(request)
    kind = PATCHES.get(media)
    if kind is None or (kind == "strategic" and resource.custom):
        # As on a cluster: nobody knows the merge keys of a custom resource's lists.
        raise errors.unsupported_media_type([m for m in PATCHES if not (resource.custom and "strategic" in m)])
    write = write_options(request)
    if kind == "apply" and "fieldManager" not in request.query_params:
        raise errors.bad_request("fieldManager is required for apply patch")
    item, made = store.patch(
        resource,
        target.name,
        decode(body, media),
        target.namespace or "",
        type=kind,
        write=write,
        subresource=target.subresource,
    )
    return _object(request, resource, item, 201 if made else 200, write.warnings)


def _delete(store: Store, request: Request, target: Target, body: bytes) -> Response:
    options = decode(body, media_type(request)) if body.strip() else {}
    if not isinstance(options, dict):
        raise errors.bad_request("the body is not DeleteOptions")
    query, resource, write = request.query_params, target.resource, write_options(request)
    write.dry_run = write.dry_run or options.get("dryRun") == ["All"]
    orphan = (options.get("propagationPolicy") or query.get("propagationPolicy")) == "Orphan"
    if not target.name:
        return _delete_collection(store, request, target, orphan)
    wanted = options.get("preconditions") or {}
    gone = store.delete(
        resource,
        target.name,
        target.namespace or "",
        uid=wanted.get("uid") or "",
        version=wanted.get("resourceVersion") or "",
        orphan=orphan,
        write=write,
    )
    if gone["metadata"].get("deletionTimestamp"):
        return _json(gone)
    return _json(errors.success(resource, target.name, gone["metadata"]["uid"]))


def _delete_collection(store: Store, request: Request, target: Target, orphan: bool) -> Response:
    query, resource, write = request.query_params, target.resource, write_options(request)
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
        store.delete(resource, metadata["name"], metadata.get("namespace", ""), orphan=orphan, write=write)
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return _json({**head, "metadata": {"resourceVersion": str(listing.version)}, "items": listing.items})


def _typed(resource: Resource, body: Any) -> Object:
    item = objects.checked_type(resource, body)
    return {**item, "apiVersion": resource.api_version, "kind": resource.kind}


def _wanted(request: Request) -> str:
    """The first form in Accept that is served: Table, PartialObjectMetadata(List), or "" for the object itself."""
    for entry in request.headers.get("accept", "").split(","):
        media, *parameters = (part.strip() for part in entry.split(";"))
        if media not in ("application/json", "*/*", "application/*"):
            continue
        form = dict(part.partition("=")[::2] for part in parameters)
        if form.get("as") and (form.get("g"), form.get("v")) != ("meta.k8s.io", "v1"):
            continue
        return form.get("as", "")
    return ""


def _whole(request: Request) -> bool:
    return request.query_params.get("includeObject", "Metadata") == "Object"


def _object(
    request: Request, resource: Resource, item: Object, code: int = 200, warnings: list[str] | None = None
) -> Response:
    wanted = _wanted(request)
    if wanted == "Table":
        version = {"resourceVersion": item["metadata"]["resourceVersion"]}
        item = tables.table(resource, [item], version, whole=_whole(request))
    elif wanted == "PartialObjectMetadata":
        item = tables.partial(item)
    response = _json(item, code)
    for warning in warnings or ():
        text = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.append("Warning", f'299 - "{text}"')
    return response


def _json(content: Any, code: int = 200) -> Response:
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(body, code, media_type="application/json")
