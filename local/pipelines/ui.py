"""The small pages for people: runs, one run, its steps' logs and files; experiments, pipelines, versions, schedules."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from local.pipelines import artifact_files, list_pages, run_page
from local.pipelines.errors import UNAVAILABLE, KfpApiError, not_found
from local.pipelines.experiments import Experiments
from local.pipelines.html_assets import HEADERS
from local.pipelines.html_rendering import UNFINISHED, escape, page
from local.pipelines.logs import tail
from local.pipelines.pipelines import Pipelines
from local.pipelines.recurring_runs import RecurringRuns
from local.pipelines.requests import query
from local.pipelines.routing import Handler, path_id
from local.pipelines.run_view import RunView
from local.pipelines.runs import Runs
from local.pipelines.task_values import Artifact
from local.storage import TRANSIENT_CODES, StorageError, failure_code

MAX_LOG = 4 * 1024 * 1024
MAX_ENTRIES = 1000
PAGE_SIZE = "50"

Shown = tuple[str, str, bool]
"""A page's title, its body, and whether it still changes."""


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages read."""

    runs: Runs
    experiments: Experiments
    pipelines: Pipelines
    recurring_runs: RecurringRuns

    def routes(self) -> list[tuple[str, Handler]]:
        """Paths and what answers a GET."""
        return [
            ("/runs", self.home),
            ("/runs/{id}", _page(self._run)),
            ("/runs/{id}/files/{path:path}", self.file),
            ("/experiments", _page(self._experiments)),
            ("/experiments/{id}", _page(self._experiment)),
            ("/pipelines", _page(self._pipelines)),
            ("/pipelines/{id}", _page(self._pipeline)),
            ("/pipelines/{id}/versions/{version}", _page(self._version)),
            ("/schedules", _page(self._schedules)),
        ]

    async def home(self, request: Request) -> Response:
        """The newest runs. The addresses that kfp.Client prints (`/#/runs/details/…`) begin here, at `/`."""
        return await _respond(self._runs, request)

    async def artifacts(self, request: Request) -> Any:
        """What the run's tasks have produced so far: name, type, metadata, size in bytes, and where to read it."""
        return await run_in_threadpool(
            lambda: {"artifacts": [_artifact(entry) for entry in self._view(request).artifacts if _is_something(entry)]}
        )

    async def log(self, request: Request) -> Response:
        """The last MAX_LOG bytes that a task wrote."""
        key, task = path_id(request), request.path_params["task"]
        self.runs.row(key)
        task_row = next((row for row in self.runs.tasks(key) if row["id"] == task), None)
        if task_row is None:
            raise not_found("task", task)
        content = await run_in_threadpool(tail, self.runs.folder(key) / "logs" / f"{task_row['id']}.log", MAX_LOG)
        return Response(content, media_type="text/plain; charset=utf-8", headers=artifact_files.HEADERS)

    async def file(self, request: Request) -> Response:
        """An artifact's file or folder, or what is in such a folder."""
        try:
            return await run_in_threadpool(self._file, request)
        except KfpApiError as error:
            return _refusal(error)

    def _file(self, request: Request) -> Response:
        asked = request.path_params["path"].rstrip("/")
        view = self._view(request)
        artifact, path = artifact_files.find(view, asked) or (None, None)
        if artifact is None or path is None:
            raise not_found("artifact", asked)
        if path.is_dir():
            title, listing = f"{artifact.name}: {asked}", _folder_page(view, asked, path)
            return HTMLResponse(page(title, listing), headers=HEADERS)
        kind = artifact_files.media_type(artifact, asked, path)
        return FileResponse(path, media_type=kind, headers=artifact_files.HEADERS)

    def _view(self, request: Request) -> RunView:
        """KfpApiError NOT_FOUND when there is no such run."""
        return self.runs.view(self.runs.row(path_id(request)))

    def _runs(self, request: Request) -> Shown:
        found = self.runs.list(_newest_first(request))
        runs = found.get("runs", [])
        names = {
            entry["experiment_id"]: entry["display_name"]
            for entry in self.experiments.list({"page_size": "200"}).get("experiments", [])
        }
        return "Pipeline runs", list_pages.runs(runs, names, _next(found)), _changing(runs)

    def _run(self, request: Request) -> Shown:
        view = self._view(request)
        version = view.row["version_id"]
        has_version = bool(version) and self.runs.database.fetch_one("SELECT 1 FROM versions WHERE id = ?", version)
        body = run_page.body(view, has_version=bool(has_version))
        return view.row["display_name"], body, view.row["state"] in UNFINISHED

    def _experiments(self, request: Request) -> Shown:
        found = self.experiments.list(_newest_first(request))
        return "Experiments", list_pages.experiments(found.get("experiments", []), _next(found)), False

    def _experiment(self, request: Request) -> Shown:
        experiment = self.experiments.get(path_id(request))
        found = self.runs.list({**_newest_first(request), "experiment_id": experiment["experiment_id"]})
        runs = found.get("runs", [])
        return experiment["display_name"], list_pages.experiment(experiment, runs, _next(found)), _changing(runs)

    def _pipelines(self, request: Request) -> Shown:
        found = self.pipelines.list(_newest_first(request))
        return "Pipelines", list_pages.pipelines(found.get("pipelines", []), _next(found)), False

    def _pipeline(self, request: Request) -> Shown:
        pipeline = self.pipelines.get(path_id(request))
        found = self.pipelines.list_versions(pipeline["pipeline_id"], _newest_first(request))
        body = list_pages.pipeline(pipeline, found.get("pipeline_versions", []), _next(found))
        return pipeline["display_name"], body, False

    def _version(self, request: Request) -> Shown:
        version = self.pipelines.get_version(path_id(request), request.path_params["version"])
        predicate = {
            "operation": "EQUALS", "key": "pipeline_version_id", "string_value": version["pipeline_version_id"]
        }  # fmt: skip
        newest = {"sort_by": "created_at desc", "page_size": PAGE_SIZE}
        runs = self.runs.list({**newest, "filter": json.dumps({"predicates": [predicate]})}).get("runs", [])
        return version["display_name"], list_pages.version(version, runs), _changing(runs)

    def _schedules(self, request: Request) -> Shown:
        found = self.recurring_runs.list(_newest_first(request))
        return "Schedules", list_pages.schedules(found.get("recurringRuns", []), _next(found)), False


def _page(make: Callable[[Request], Shown]) -> Handler:
    async def handler(request: Request) -> Response:
        return await _respond(make, request)

    return handler


async def _respond(make: Callable[[Request], Shown], request: Request) -> Response:
    """The page that `make` gives, or one that says why there is none."""
    try:
        title, body, changing = await run_in_threadpool(make, request)
    except KfpApiError as error:
        return _refusal(error)
    except Exception as error:
        if isinstance(error, StorageError) or failure_code(error) in TRANSIENT_CODES:
            return _refusal(KfpApiError(UNAVAILABLE, f"not now, try again: {error}"))
        raise
    return HTMLResponse(page(title, body, changing=changing), headers=HEADERS)


def _refusal(error: KfpApiError) -> Response:
    sentence = error.message[:1].upper() + error.message[1:]
    body = f'<h1>Not shown</h1><p class="wrap">{escape(sentence)}.'
    return HTMLResponse(page("Not shown", body), error.status, headers=HEADERS)


def _newest_first(request: Request) -> dict[str, str]:
    options = {"sort_by": "created_at desc", "page_size": PAGE_SIZE}
    return options | ({"page_token": token} if (token := query(request).get("page_token")) else {})


def _next(found: Mapping[str, Any]) -> str:
    return str(found.get("next_page_token", ""))


def _changing(runs: list[dict[str, Any]]) -> bool:
    return any(run["state"] in UNFINISHED for run in runs)


def _is_something(entry: Artifact) -> bool:
    """Not one that its task declared but did not make."""
    return bool(entry.path or not entry.place or entry.metadata)


def _artifact(entry: Artifact) -> dict[str, Any]:
    return {
        "task_id": entry.task_id, "task": entry.task_name, "name": entry.name, "type": entry.type,
        "metadata": entry.metadata, "path": entry.path, "size": entry.size,
        "url": run_page.file_url(entry.run_id, entry.path) if entry.path else "",
    }  # fmt: skip


def _folder_page(view: RunView, asked: str, path: Path) -> str:
    entries = sorted(path.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
    shown = [_folder_entry(view, f"{asked}/{entry.name}", entry) for entry in entries[:MAX_ENTRIES]]
    return list_pages.folder(asked, (view.id, view.row["display_name"]), shown, len(entries))


def _folder_entry(view: RunView, asked: str, entry: Path) -> tuple[str, str, int | None]:
    """Name, address and size. A link that leads nowhere or out of the artifact has no address, nor has a name that is
    not UTF-8.
    """
    _, found = artifact_files.find(view, asked) or (None, None)
    try:
        asked.encode()
        return entry.name, run_page.file_url(view.id, asked) if found else "", _size(found)
    except UnicodeEncodeError:
        return entry.name, "", _size(found)


def _size(found: Path | None) -> int | None:
    if found is None:
        return 0
    return None if found.is_dir() else found.stat().st_size
