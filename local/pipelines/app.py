"""The HTTP API: the paths of Kubeflow Pipelines' v2beta1 REST API, and a few pages for people (ui.py)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from local.access_middleware import AccessMiddleware
from local.pipelines import kubeflow_ui_files, kubeflow_ui_routes, pipeline_spec, ui
from local.pipelines.errors import (
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNIMPLEMENTED,
    KfpApiError,
    invalid_argument,
)
from local.pipelines.experiments import Experiments
from local.pipelines.pipelines import Pipelines
from local.pipelines.recurring_runs import RecurringRuns
from local.pipelines.requests import MAX_BODY, query
from local.pipelines.routing import Endpoint, by_id, path_id, plain, route, with_body, with_package
from local.pipelines.runs import Runs

API_PREFIX = "/apis/v2beta1"
RELEASE = "2.17.0"
"""The release of Kubeflow Pipelines whose API this is; Kubeflow's UI shows it."""
_CODES = {400: INVALID_ARGUMENT, 401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 413: RESOURCE_EXHAUSTED,
          501: UNIMPLEMENTED}  # fmt: skip


def make_app(
    experiments: Experiments,
    pipelines: Pipelines,
    runs: Runs,
    recurring_runs: RecurringRuns,
    kubeflow_ui: Path | None = None,
) -> Starlette:
    """The ASGI app. `kubeflow_ui` is a folder with a build of Kubeflow's UI, which then is at `/`, and the small pages
    begin at `/runs`.
    """
    pages = ui.Pages(runs, experiments, pipelines, recurring_runs)

    async def health(_: Request) -> Any:
        trouble = runs.database.storage_failure
        return {
            "multi_user": False, "pipeline_store": "database", "tag_name": RELEASE, "apiServerTagName": RELEASE,
            "apiServerReady": True, "storage": [trouble.to_json()] if trouble else [],
        }  # fmt: skip

    table: list[Endpoint] = [
        ("GET", "/healthz", health),
        *_experiment_routes(experiments),
        *_pipeline_routes(pipelines),
        *_run_routes(runs),
        ("GET", "/runs/{id}/artifacts", pages.artifacts),
        ("GET", "/runs/{id}/nodes/{task}/log", pages.log),
        *_recurring_run_routes(recurring_runs),
    ]
    routes: list[BaseRoute] = [route(method, API_PREFIX + path, handler) for method, path, handler in table]
    routes += [
        route("GET", "/healthz", health),
        *(route("GET", path, handler) for path, handler in pages.routes()),
        *kubeflow_ui_routes.routes(experiments, pipelines, runs, recurring_runs),
    ]
    routes += kubeflow_ui_files.routes(kubeflow_ui) if kubeflow_ui else [route("GET", "/", pages.home)]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_exception})


def _experiment_routes(experiments: Experiments) -> list[Endpoint]:
    item = "/experiments/{id}"
    return [
        ("POST", "/experiments", with_body(lambda _, body: experiments.create(body))),
        ("GET", "/experiments", plain(lambda request: experiments.list(query(request)))),
        ("POST", item + ":archive", by_id(lambda key: experiments.set_storage_state(key, "ARCHIVED"))),
        ("POST", item + ":unarchive", by_id(lambda key: experiments.set_storage_state(key, "AVAILABLE"))),
        ("GET", item, by_id(experiments.get)),
        ("DELETE", item, by_id(experiments.delete)),
    ]


def _pipeline_routes(pipelines: Pipelines) -> list[Endpoint]:
    uploads = _Uploads(pipelines)
    item, versions, version = "/pipelines/{id}", "/pipelines/{id}/versions", "/pipelines/{id}/versions/{version}"
    return [
        ("POST", "/pipelines/upload", with_package(uploads.pipeline)),
        ("POST", "/pipelines/upload_version", with_package(uploads.version)),
        ("POST", "/pipelines/create", with_body(uploads.pipeline_and_version)),
        ("POST", "/pipelines", with_body(lambda _, body: pipelines.create(body))),
        ("GET", "/pipelines", plain(lambda request: pipelines.list(query(request)))),
        ("GET", "/pipelines/names/{name}", plain(lambda request: pipelines.get_by_name(request.path_params["name"]))),
        ("GET", item, by_id(pipelines.get)),
        ("PATCH", item, with_body(lambda request, body: pipelines.update(path_id(request), body))),
        ("DELETE", item, plain(lambda request: pipelines.delete(path_id(request), cascade=_cascade(request)))),
        ("POST", versions, with_body(uploads.version_of_spec)),
        ("GET", versions, plain(lambda request: pipelines.list_versions(path_id(request), query(request)))),
        ("GET", version, plain(lambda request: pipelines.get_version(*_version(request)))),
        ("DELETE", version, plain(lambda request: pipelines.delete_version(*_version(request)))),
    ]


def _run_routes(runs: Runs) -> list[Endpoint]:
    item = "/runs/{id}"
    return [
        ("POST", "/runs", with_body(lambda request, body: runs.create(_with_experiment(request, body)))),
        ("GET", "/runs", plain(lambda request: runs.list(query(request)))),
        ("POST", item + ":terminate", by_id(runs.terminate)),
        ("POST", item + ":retry", by_id(runs.retry)),
        ("POST", item + ":archive", by_id(lambda key: runs.set_storage_state(key, "ARCHIVED"))),
        ("POST", item + ":unarchive", by_id(lambda key: runs.set_storage_state(key, "AVAILABLE"))),
        ("GET", item, by_id(runs.get)),
        ("DELETE", item, by_id(runs.delete)),
    ]


def _recurring_run_routes(recurring_runs: RecurringRuns) -> list[Endpoint]:
    item = "/recurringruns/{id}"
    return [
        ("POST", "/recurringruns", with_body(lambda _, body: recurring_runs.create(body))),
        ("GET", "/recurringruns", plain(lambda request: recurring_runs.list(query(request)))),
        ("POST", item + ":enable", by_id(lambda key: recurring_runs.set_status(key, "ENABLED"))),
        ("POST", item + ":disable", by_id(lambda key: recurring_runs.set_status(key, "DISABLED"))),
        ("GET", item, by_id(recurring_runs.get)),
        ("DELETE", item, by_id(recurring_runs.delete)),
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
        return self._pipelines.create_version(path_id(request), body, spec)


def _version(request: Request) -> tuple[str, str]:
    return path_id(request), request.path_params["version"]


def _cascade(request: Request) -> bool:
    return query(request).get("cascade", "").lower() == "true"


def _with_experiment(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    body.setdefault("experiment_id", query(request).get("experiment_id"))
    return body
