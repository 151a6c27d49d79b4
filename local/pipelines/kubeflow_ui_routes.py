"""The paths that Kubeflow Pipelines' unmodified UI asks for beyond the v2beta1 API: v1beta1 reads and deletes, the
metadata store over gRPC-Web, and what the UI's own Node server answers in a cluster (files and logs of a run).
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute

from local.pipelines import artifact_files, grpc_web
from local.pipelines.errors import KfpApiError, invalid_argument, not_found
from local.pipelines.experiments import Experiments
from local.pipelines.logs import tail
from local.pipelines.metadata_entries import BUCKET, STORE
from local.pipelines.metadata_messages import SERVICE
from local.pipelines.metadata_store import MetadataStore
from local.pipelines.pipelines import Pipelines
from local.pipelines.recurring_runs import RecurringRuns
from local.pipelines.requests import query, read_body
from local.pipelines.routing import Endpoint, by_id, path_id, plain, route
from local.pipelines.runs import Runs
from local.pipelines.v1beta1 import V1Reads
from local.storage import StorageError

V1_PREFIX = "/apis/v1beta1"
MAX_LOG = 4 * 1024 * 1024
MAX_PEEK = 1024 * 1024
"""What a preview may ask for, in bytes."""


def routes(
    experiments: Experiments, pipelines: Pipelines, runs: Runs, recurring_runs: RecurringRuns
) -> list[BaseRoute]:
    """Everything but the UI's own files."""
    files = _RunFiles(runs)
    store = MetadataStore(runs)
    own: list[Endpoint] = [
        ("GET", "/artifacts/get", plain(files.shown)),
        ("GET", "/artifacts/{source}/{bucket}/{key:path}", plain(files.downloaded)),
        ("GET", "/k8s/pod/logs", plain(files.pod_log)),
        ("GET", "/visualizations/allowed", plain(lambda _: PlainTextResponse("false"))),
        # Of a cluster on Google's cloud. Without a name the UI shows no link to it.
        ("GET", "/system/cluster-name", plain(lambda _: PlainTextResponse(""))),
        ("GET", "/system/project-id", plain(lambda _: PlainTextResponse(""))),
    ]
    reads = _v1_routes(V1Reads(runs.database), experiments, pipelines, runs, recurring_runs)
    reads.append(("GET", "/runs/{id}/nodes/{task}/log", plain(files.node_log)))

    async def metadata(request: Request) -> Response:
        return await _call(store, request)

    return [
        *(route(method, path, handler) for method, path, handler in own),
        *(route(method, V1_PREFIX + path, handler) for method, path, handler in reads),
        route("POST", f"/{SERVICE}/{{method}}", metadata),
    ]


def _v1_routes(
    reads: V1Reads, experiments: Experiments, pipelines: Pipelines, runs: Runs, recurring_runs: RecurringRuns
) -> list[Endpoint]:
    def delete_version(key: str) -> None:
        version = runs.database.require("versions", "pipeline version", key)
        pipelines.delete_version(version["pipeline_id"], key)

    return [
        ("GET", "/experiments", plain(lambda request: reads.experiments(query(request)))),
        ("GET", "/experiments/{id}", by_id(reads.experiment)),
        ("DELETE", "/experiments/{id}", by_id(experiments.delete)),
        ("GET", "/pipelines", plain(lambda request: reads.pipelines(query(request)))),
        ("GET", "/pipelines/{id}", by_id(reads.pipeline)),
        ("GET", "/pipelines/{id}/templates", by_id(reads.newest_template)),
        ("DELETE", "/pipelines/{id}", by_id(lambda key: pipelines.delete(key, cascade=True))),
        ("GET", "/pipeline_versions", plain(lambda request: reads.versions(query(request)))),
        ("GET", "/pipeline_versions/{id}", by_id(reads.version)),
        ("GET", "/pipeline_versions/{id}/templates", by_id(reads.template)),
        ("DELETE", "/pipeline_versions/{id}", by_id(delete_version)),
        ("GET", "/runs", plain(lambda request: reads.runs(query(request)))),
        ("GET", "/runs/{id}", by_id(reads.run)),
        ("DELETE", "/runs/{id}", by_id(runs.delete)),
        ("GET", "/jobs", plain(lambda request: reads.jobs(query(request)))),
        ("GET", "/jobs/{id}", by_id(reads.job)),
        ("DELETE", "/jobs/{id}", by_id(recurring_runs.delete)),
    ]


async def _call(store: MetadataStore, request: Request) -> Response:
    """One call of the metadata store. A refusal is a gRPC status in a response of 200, as the protocol has it."""
    content_type = request.headers.get("content-type", "").lower()
    method = request.path_params["method"]
    message, status, text = None, grpc_web.OK, ""
    try:
        content = grpc_web.request_message(await read_body(request), content_type)
        message = await run_in_threadpool(store.call, method, content)
        if message is None:
            status, text = grpc_web.UNIMPLEMENTED, f"{method[:60]} is not served: this store is read-only"
    except (grpc_web.FrameError, DecodeError) as error:
        status, text = grpc_web.INVALID_ARGUMENT, f"the call cannot be read: {error}"
    except KfpApiError as error:
        status, text = error.code, error.message
    except StorageError as error:
        status, text = grpc_web.UNAVAILABLE, f"not now, try again: {error}"
    body = grpc_web.response_body(message, status, text, content_type)
    return Response(body, media_type=grpc_web.response_type(content_type))


class _RunFiles:
    """A run's artifacts and logs, under the addresses that the UI makes for a cluster's object store and its pods."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def shown(self, request: Request) -> Response:
        """The text of an artifact; of its first bytes only, with `peek`. One without a file is empty."""
        given = query(request)
        file = self._find(given.get("source", ""), given.get("bucket", ""), given.get("key", ""))
        if file is None or file.is_dir():
            text = "" if file is None else artifact_files.listing(file)
            return PlainTextResponse(text, headers=artifact_files.HEADERS)
        if (peek := _peek(given.get("peek", ""))) == 0:
            return FileResponse(file, media_type="text/plain; charset=utf-8", headers=artifact_files.HEADERS)
        with file.open("rb") as opened:
            content = opened.read(peek)
        return Response(content, media_type="text/plain; charset=utf-8", headers=artifact_files.HEADERS)

    def downloaded(self, request: Request) -> Response:
        """An artifact's file as it is, to be saved; of a folder, its listing."""
        parts = request.path_params
        file = self._find(parts["source"], parts["bucket"], parts["key"])
        if file is None or file.is_dir():
            text = "" if file is None else artifact_files.listing(file)
            return PlainTextResponse(text, headers=artifact_files.HEADERS)
        name = quote(PurePosixPath(parts["key"]).name)
        headers = {**artifact_files.HEADERS, "Content-Disposition": f"attachment; filename*=utf-8''{name}"}
        return FileResponse(file, media_type="application/octet-stream", headers=headers)

    def pod_log(self, request: Request) -> Response:
        given = query(request)
        return self._log(given.get("runid", ""), given.get("podname", ""))

    def node_log(self, request: Request) -> Response:
        return self._log(path_id(request), request.path_params["task"])

    def _log(self, run: str, task: str) -> Response:
        """The last MAX_LOG bytes that a task wrote; a task that has not begun, or a group, has written nothing."""
        self._runs.row(run)
        row = next((row for row in self._runs.tasks(run) if row["id"] == task), None)
        if row is None:
            raise not_found("task", task)
        content = tail(self._runs.folder(run) / "logs" / f"{row['id']}.log", MAX_LOG)
        return Response(content, media_type="text/plain; charset=utf-8", headers=artifact_files.HEADERS)

    def _find(self, source: str, bucket: str, key: str) -> Any:
        """The file or folder of an artifact, None for one that is metadata alone. KfpApiError NOT_FOUND."""
        address = f"{source}://{bucket}/{key}"
        run, _, place = key.partition("/")
        if (source, bucket) != (STORE, BUCKET):
            raise not_found("artifact on this machine at", address)
        found = artifact_files.find(self._runs.view(self._runs.row(run)), place)
        if found is None:
            raise not_found("artifact", address)
        return found[1]


def _peek(text: str) -> int:
    """The bytes to show, 0 for all of them."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid_argument(f"peek must be a whole number of bytes, found {text[:40]!r}")
    return min(int(text), MAX_PEEK)
