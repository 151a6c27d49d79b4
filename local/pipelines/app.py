"""The HTTP API: the paths of Kubeflow Pipelines' v2beta1 REST API, and a few pages for people (ui.py)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.access_middleware import AccessMiddleware
from local.pipelines import pipeline_spec, ui
from local.pipelines.errors import (
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    KfpApiError,
    invalid_argument,
)
from local.pipelines.experiments import Experiments
from local.pipelines.pipelines import Pipelines
from local.pipelines.recurring_runs import RecurringRuns
from local.pipelines.requests import MAX_BODY, query, read_json, read_upload
from local.pipelines.runs import Runs
from local.storage import TRANSIENT_CODES, StorageError, failure_code

log = logging.getLogger(__name__)
API_PREFIX = "/apis/v2beta1"
_CODES = {400: INVALID_ARGUMENT, 401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 413: RESOURCE_EXHAUSTED,
          501: UNIMPLEMENTED}  # fmt: skip

Handler = Callable[[Request], Awaitable[Any]]
"""Gives a JSON message, or a Response of its own."""
Endpoint = tuple[str, str, Handler]
"""Method, path below API_PREFIX, handler."""


def make_app(experiments: Experiments, pipelines: Pipelines, runs: Runs, recurring_runs: RecurringRuns) -> Starlette:
    """The ASGI app."""
    run_pages = ui.RunPages(runs)

    async def health(_: Request) -> Any:
        trouble = runs.database.storage_failure
        return {"multi_user": False, "pipeline_store": "database", "storage": [trouble.to_json()] if trouble else []}

    table: list[Endpoint] = [
        ("GET", "/healthz", health),
        *_experiment_routes(experiments),
        *_pipeline_routes(pipelines),
        *_run_routes(runs),
        ("GET", "/runs/{id}/artifacts", run_pages.artifacts),
        ("GET", "/runs/{id}/nodes/{task}/log", run_pages.log),
        *_recurring_run_routes(recurring_runs),
    ]
    routes = [_route(method, API_PREFIX + path, handler) for method, path, handler in table]
    routes += [
        _route("GET", "/healthz", health),
        _route("GET", "/", run_pages.index),
        _route("GET", "/runs/{id}", run_pages.run),
        _route("GET", "/runs/{id}/files/{path:path}", run_pages.file),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_exception})


def _experiment_routes(experiments: Experiments) -> list[Endpoint]:
    item = "/experiments/{id}"
    return [
        ("POST", "/experiments", _with_body(lambda _, body: experiments.create(body))),
        ("GET", "/experiments", _plain(lambda request: experiments.list(query(request)))),
        ("POST", item + ":archive", _by_id(lambda key: experiments.set_storage_state(key, "ARCHIVED"))),
        ("POST", item + ":unarchive", _by_id(lambda key: experiments.set_storage_state(key, "AVAILABLE"))),
        ("GET", item, _by_id(experiments.get)),
        ("DELETE", item, _by_id(experiments.delete)),
    ]


def _pipeline_routes(pipelines: Pipelines) -> list[Endpoint]:
    uploads = _Uploads(pipelines)
    item, versions, version = "/pipelines/{id}", "/pipelines/{id}/versions", "/pipelines/{id}/versions/{version}"
    return [
        ("POST", "/pipelines/upload", _with_package(uploads.pipeline)),
        ("POST", "/pipelines/upload_version", _with_package(uploads.version)),
        ("POST", "/pipelines/create", _with_body(uploads.pipeline_and_version)),
        ("POST", "/pipelines", _with_body(lambda _, body: pipelines.create(body))),
        ("GET", "/pipelines", _plain(lambda request: pipelines.list(query(request)))),
        ("GET", "/pipelines/names/{name}", _plain(lambda request: pipelines.get_by_name(request.path_params["name"]))),
        ("GET", item, _by_id(pipelines.get)),
        ("PATCH", item, _with_body(lambda request, body: pipelines.update(_path_id(request), body))),
        ("DELETE", item, _plain(lambda request: pipelines.delete(_path_id(request), cascade=_cascade(request)))),
        ("POST", versions, _with_body(uploads.version_of_spec)),
        ("GET", versions, _plain(lambda request: pipelines.list_versions(_path_id(request), query(request)))),
        ("GET", version, _plain(lambda request: pipelines.get_version(*_version(request)))),
        ("DELETE", version, _plain(lambda request: pipelines.delete_version(*_version(request)))),
    ]


def _run_routes(runs: Runs) -> list[Endpoint]:
    item = "/runs/{id}"
    return [
        ("POST", "/runs", _with_body(lambda request, body: runs.create(_with_experiment(request, body)))),
        ("GET", "/runs", _plain(lambda request: runs.list(query(request)))),
        ("POST", item + ":terminate", _by_id(runs.terminate)),
        ("POST", item + ":retry", _by_id(runs.retry)),
        ("POST", item + ":archive", _by_id(lambda key: runs.set_storage_state(key, "ARCHIVED"))),
        ("POST", item + ":unarchive", _by_id(lambda key: runs.set_storage_state(key, "AVAILABLE"))),
        ("GET", item, _by_id(runs.get)),
        ("DELETE", item, _by_id(runs.delete)),
    ]


def _recurring_run_routes(recurring_runs: RecurringRuns) -> list[Endpoint]:
    item = "/recurringruns/{id}"
    return [
        ("POST", "/recurringruns", _with_body(lambda _, body: recurring_runs.create(body))),
        ("GET", "/recurringruns", _plain(lambda request: recurring_runs.list(query(request)))),
        ("POST", item + ":enable", _by_id(lambda key: recurring_runs.set_status(key, "ENABLED"))),
        ("POST", item + ":disable", _by_id(lambda key: recurring_runs.set_status(key, "DISABLED"))),
        ("GET", item, _by_id(recurring_runs.get)),
        ("DELETE", item, _by_id(recurring_runs.delete)),
    ]


def with_guard(app: Starlette, token: str, hosts: Iterable[str] = ()) -> AccessMiddleware:
    """The app behind its guard: pipelines are programs, so whoever may start one acts with our rights. `hosts` are
    further names of this machine.
    """
    return AccessMiddleware(
        app,
        hosts=hosts,
        token=token,
        is_public=lambda method, path: path in (API_PREFIX + "/healthz", "/healthz"),
        max_body=MAX_BODY,
        error_body=lambda denial: KfpApiError(_CODES[denial.status], denial.reason, denial.status).body(),
        has_pages=True,
        hint="open the link that `mcqa up` prints, once, or send `Authorization: Bearer …` with what is in the file "
        "pipelines/token of the loop's folder",
    )


def _route(method: str, path: str, handler: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            result = await handler(request)
        except KfpApiError as error:
            return JSONResponse(error.body(), error.status)
        except Exception as error:
            if isinstance(error, StorageError) or failure_code(error) in TRANSIENT_CODES:
                unavailable = KfpApiError(UNAVAILABLE, f"not now, try again: {error}")
                return JSONResponse(unavailable.body(), unavailable.status, {"retry-after": "1"})
            log.exception("%s %s failed", request.method, request.url.path)
            return JSONResponse(KfpApiError(INTERNAL, "the platform failed; its log says why").body(), 500)
        return result if isinstance(result, Response) else JSONResponse(result if result is not None else {})

    return Route(path, endpoint, methods=[method])


async def _http_exception(_: Request, error: Exception) -> Response:
    """No such path, or no such method on it."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: NOT_FOUND, 405: UNIMPLEMENTED, 400: INVALID_ARGUMENT}.get(status, INTERNAL)
    text = {404: "there is no such path", 405: "the path does not take this method"}.get(status, "refused")
    return JSONResponse(KfpApiError(code, text, status).body(), status)


class _Uploads:
    """Pipelines and versions made of a package or a spec."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    def pipeline(self, request: Request, filename: str, content: bytes) -> Any:
        spec = pipeline_spec.parse_package(filename, content)
        body = query(request)
        if not (body.get("name") or body.get("display_name")):
            body["name"] = pipeline_spec.pipeline_name(spec)
        return self._pipelines.create(body, spec)

    def version(self, request: Request, filename: str, content: bytes) -> Any:
        spec = pipeline_spec.parse_package(filename, content)
        body = query(request)
        if not body.get("pipelineid"):
            raise invalid_argument("pipelineid is required: the pipeline that gets a version")
        return self._pipelines.create_version(body["pipelineid"], body, spec)

    def pipeline_and_version(self, _: Request, body: dict[str, Any]) -> Any:
        version, pipeline = body.get("pipeline_version"), body.get("pipeline")
        if not isinstance(version, dict) or not isinstance(pipeline, dict):
            raise invalid_argument("give a pipeline and a pipeline_version")
        return self._pipelines.create(pipeline, pipeline_spec.normalize(version.get("pipeline_spec")))

    def version_of_spec(self, request: Request, body: dict[str, Any]) -> Any:
        if "pipeline_spec" not in body:
            raise KfpApiError(UNIMPLEMENTED, "packages are not fetched by URL; send the pipeline_spec or upload it")
        spec = pipeline_spec.normalize(body["pipeline_spec"])
        return self._pipelines.create_version(_path_id(request), body, spec)


def _plain(act: Callable[[Request], Any]) -> Handler:
    async def handler(request: Request) -> Any:
        return await run_in_threadpool(act, request)

    return handler


def _by_id(act: Callable[[str], Any]) -> Handler:
    return _plain(lambda request: act(_path_id(request)))


def _with_body(act: Callable[[Request, dict[str, Any]], Any]) -> Handler:
    async def handler(request: Request) -> Any:
        return await run_in_threadpool(act, request, await read_json(request))

    return handler


def _with_package(act: Callable[[Request, str, bytes], Any]) -> Handler:
    async def handler(request: Request) -> Any:
        filename, content = await read_upload(request)
        return await run_in_threadpool(act, request, filename, content)

    return handler


def _path_id(request: Request) -> str:
    return str(request.path_params["id"])


def _version(request: Request) -> tuple[str, str]:
    return _path_id(request), request.path_params["version"]


def _cascade(request: Request) -> bool:
    return query(request).get("cascade", "").lower() == "true"


def _with_experiment(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    body.setdefault("experiment_id", query(request).get("experiment_id"))
    return body
