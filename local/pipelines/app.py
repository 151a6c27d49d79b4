"""The HTTP form of it all: the paths of Kubeflow Pipelines' v2beta1 REST API, and a few pages for people (pages.py)."""

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
from local.pipelines import pages
from local.pipelines import spec as specs
from local.pipelines.errors import (
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    ApiError,
    invalid,
)
from local.pipelines.recurring import RecurringRuns
from local.pipelines.requests import MAX_BODY, query, read_json, read_upload
from local.pipelines.runs import Runs
from local.pipelines.store import Store
from local.storage import TRANSIENT_CODES, StorageError, failure_code

log = logging.getLogger(__name__)
BASE = "/apis/v2beta1"
_CODES = {400: INVALID_ARGUMENT, 401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 413: RESOURCE_EXHAUSTED,
          501: UNIMPLEMENTED}  # fmt: skip

Handler = Callable[[Request], Awaitable[Any]]


def make_app(store: Store, runs: Runs, recurring_runs: RecurringRuns) -> Starlette:
    """The ASGI app. Handlers give a JSON message, or a Response of their own."""
    api = _Api(store, runs, recurring_runs)
    show = pages.Pages(runs)
    experiment, pipeline, run = "/experiments/{id}", "/pipelines/{id}", "/runs/{id}"
    recurring = "/recurringruns/{id}"
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/healthz", api.health),
        ("POST", "/experiments", api.create_experiment),
        ("GET", "/experiments", api.experiments),
        ("POST", experiment + ":archive", api.archive_experiment),
        ("POST", experiment + ":unarchive", api.unarchive_experiment),
        ("GET", experiment, api.experiment),
        ("DELETE", experiment, api.delete_experiment),
        ("POST", "/pipelines/upload", api.upload),
        ("POST", "/pipelines/upload_version", api.upload_version),
        ("POST", "/pipelines/create", api.create_with_version),
        ("POST", "/pipelines", api.create_pipeline),
        ("GET", "/pipelines", api.pipelines),
        ("GET", "/pipelines/names/{name}", api.pipeline_named),
        ("GET", pipeline, api.pipeline),
        ("PATCH", pipeline, api.update_pipeline),
        ("DELETE", pipeline, api.delete_pipeline),
        ("POST", pipeline + "/versions", api.create_version),
        ("GET", pipeline + "/versions", api.versions),
        ("GET", pipeline + "/versions/{version}", api.version),
        ("DELETE", pipeline + "/versions/{version}", api.delete_version),
        ("POST", "/runs", api.create_run),
        ("GET", "/runs", api.list_runs),
        ("POST", run + ":terminate", api.terminate),
        ("POST", run + ":retry", api.retry),
        ("POST", run + ":archive", api.archive),
        ("POST", run + ":unarchive", api.unarchive),
        ("GET", run, api.run),
        ("DELETE", run, api.delete_run),
        ("GET", run + "/artifacts", show.artifacts),
        ("GET", run + "/nodes/{task}/log", show.log),
        ("POST", "/recurringruns", api.create_recurring_run),
        ("GET", "/recurringruns", api.recurring_runs),
        ("POST", recurring + ":enable", api.enable_recurring_run),
        ("POST", recurring + ":disable", api.disable_recurring_run),
        ("GET", recurring, api.recurring_run),
        ("DELETE", recurring, api.delete_recurring_run),
    ]
    routes = [_route(method, BASE + path, handler) for method, path, handler in table]
    routes += [
        _route("GET", "/healthz", api.health),
        _route("GET", "/", show.index),
        _route("GET", "/runs/{id}", show.run),
        _route("GET", "/runs/{id}/files/{path:path}", show.file),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refused})


def guarded(app: Starlette, token: str, hosts: Iterable[str] = ()) -> AccessMiddleware:
    """The app as it is served: pipelines are programs, so whoever may start one acts as we do. `hosts` are further
    names of this machine.
    """
    return AccessMiddleware(
        app,
        hosts=hosts,
        token=token,
        is_public=lambda method, path: path in (BASE + "/healthz", "/healthz"),
        max_body=MAX_BODY,
        error_body=lambda denial: ApiError(_CODES[denial.status], denial.reason, denial.status).body(),
        has_pages=True,
        hint="open the link that `mcqa up` prints, once, or send `Authorization: Bearer …` with what is in the file "
        "pipelines/token of the loop's folder",
    )


def _route(method: str, path: str, handler: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            found = await handler(request)
        except ApiError as error:
            return JSONResponse(error.body(), error.status)
        except Exception as error:
            if isinstance(error, StorageError) or failure_code(error) in TRANSIENT_CODES:
                refused = ApiError(UNAVAILABLE, f"not now, try again: {error}")
                return JSONResponse(refused.body(), refused.status, {"retry-after": "1"})
            log.exception("%s %s failed", request.method, request.url.path)
            return JSONResponse(ApiError(INTERNAL, "the platform failed; its log says why").body(), 500)
        return found if isinstance(found, Response) else JSONResponse(found if found is not None else {})

    return Route(path, endpoint, methods=[method])


async def _refused(_: Request, error: Exception) -> Response:
    """No such path, or no such method on it."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: NOT_FOUND, 405: UNIMPLEMENTED, 400: INVALID_ARGUMENT}.get(status, INTERNAL)
    text = {404: "there is no such path", 405: "the path does not take this method"}.get(status, "refused")
    return JSONResponse(ApiError(code, text, status).body(), status)


class _Api:
    def __init__(self, store: Store, runs: Runs, recurring_runs: RecurringRuns) -> None:
        self._store = store
        self._runs = runs
        self._recurring = recurring_runs

    async def health(self, _: Request) -> Any:
        trouble = self._runs.database.storage_failure
        return {"multi_user": False, "pipeline_store": "database", "storage": [trouble.to_json()] if trouble else []}

    async def create_experiment(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.create_experiment, await read_json(request))

    async def experiments(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.experiments, query(request))

    async def experiment(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.experiment, _id(request))

    async def archive_experiment(self, request: Request) -> Any:
        await run_in_threadpool(self._store.keep_experiment, _id(request), "ARCHIVED")

    async def unarchive_experiment(self, request: Request) -> Any:
        await run_in_threadpool(self._store.keep_experiment, _id(request), "AVAILABLE")

    async def delete_experiment(self, request: Request) -> Any:
        await run_in_threadpool(self._store.delete_experiment, _id(request))

    async def upload(self, request: Request) -> Any:
        name, content = await read_upload(request)
        spec = await run_in_threadpool(specs.parse_package, name, content)
        asked = query(request)
        body = asked if asked.get("name") or asked.get("display_name") else {**asked, "name": specs.name(spec)}
        return await run_in_threadpool(self._store.create_pipeline, body, spec)

    async def upload_version(self, request: Request) -> Any:
        name, content = await read_upload(request)
        spec = await run_in_threadpool(specs.parse_package, name, content)
        asked = query(request)
        if not asked.get("pipelineid"):
            raise invalid("pipelineid is needed: the pipeline that gets a version")
        return await run_in_threadpool(self._store.create_version, asked["pipelineid"], asked, spec)

    async def create_pipeline(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.create_pipeline, await read_json(request))

    async def create_with_version(self, request: Request) -> Any:
        body = await read_json(request)
        version, pipeline = body.get("pipeline_version"), body.get("pipeline")
        if not isinstance(version, dict) or not isinstance(pipeline, dict):
            raise invalid("give a pipeline and a pipeline_version")
        spec = await run_in_threadpool(specs.canonical, version.get("pipeline_spec"))
        return await run_in_threadpool(self._store.create_pipeline, pipeline, spec)

    async def pipelines(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.pipelines, query(request))

    async def pipeline_named(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.pipeline_named, request.path_params["name"])

    async def pipeline(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.pipeline, _id(request))

    async def update_pipeline(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.update_pipeline, _id(request), await read_json(request))

    async def delete_pipeline(self, request: Request) -> Any:
        cascade = query(request).get("cascade", "").lower() == "true"
        await run_in_threadpool(self._store.delete_pipeline, _id(request), cascade)

    async def create_version(self, request: Request) -> Any:
        body = await read_json(request)
        if "pipeline_spec" not in body:
            raise ApiError(UNIMPLEMENTED, "packages are not fetched by URL; send the pipeline_spec or upload it")
        spec = await run_in_threadpool(specs.canonical, body["pipeline_spec"])
        return await run_in_threadpool(self._store.create_version, _id(request), body, spec)

    async def versions(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.versions, _id(request), query(request))

    async def version(self, request: Request) -> Any:
        return await run_in_threadpool(self._store.version, _id(request), request.path_params["version"])

    async def delete_version(self, request: Request) -> Any:
        await run_in_threadpool(self._store.delete_version, _id(request), request.path_params["version"])

    async def create_run(self, request: Request) -> Any:
        asked, body = query(request), await read_json(request)
        body.setdefault("experiment_id", asked.get("experiment_id"))
        return await run_in_threadpool(self._runs.create, body)

    async def list_runs(self, request: Request) -> Any:
        return await run_in_threadpool(self._runs.list, query(request))

    async def run(self, request: Request) -> Any:
        return await run_in_threadpool(self._runs.get, _id(request))

    async def terminate(self, request: Request) -> Any:
        await run_in_threadpool(self._runs.terminate, _id(request))

    async def retry(self, request: Request) -> Any:
        await run_in_threadpool(self._runs.retry, _id(request))

    async def archive(self, request: Request) -> Any:
        await run_in_threadpool(self._runs.keep, _id(request), "ARCHIVED")

    async def unarchive(self, request: Request) -> Any:
        await run_in_threadpool(self._runs.keep, _id(request), "AVAILABLE")

    async def delete_run(self, request: Request) -> Any:
        await run_in_threadpool(self._runs.delete, _id(request))

    async def create_recurring_run(self, request: Request) -> Any:
        return await run_in_threadpool(self._recurring.create, await read_json(request))

    async def recurring_runs(self, request: Request) -> Any:
        return await run_in_threadpool(self._recurring.list, query(request))

    async def recurring_run(self, request: Request) -> Any:
        return await run_in_threadpool(self._recurring.get, _id(request))

    async def enable_recurring_run(self, request: Request) -> Any:
        await run_in_threadpool(self._recurring.switch, _id(request), "ENABLED")

    async def disable_recurring_run(self, request: Request) -> Any:
        await run_in_threadpool(self._recurring.switch, _id(request), "DISABLED")

    async def delete_recurring_run(self, request: Request) -> Any:
        await run_in_threadpool(self._recurring.delete, _id(request))


def _id(request: Request) -> str:
    found: str = request.path_params["id"]
    return found
