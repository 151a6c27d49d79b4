"""Pages for people: the runs, one run's steps, their logs, and the files they produced (metrics, HTML, Markdown)."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from local.pipelines.database import Row
from local.pipelines.errors import not_found
from local.pipelines.html_rendering import (
    UNFINISHED,
    busy_seconds,
    duration_cell,
    escape,
    in_tree_order,
    page,
    seconds_cell,
    short_error,
    table,
    time_cell,
)
from local.pipelines.logs import tail
from local.pipelines.runs import Runs

MAX_LOG = 4 * 1024 * 1024
_TYPES = {"system.HTML": "text/html; charset=utf-8", "system.Markdown": "text/markdown; charset=utf-8"}
# A step's HTML comes from data: it may be shown, but must not reach anything else.
_HEADERS = {"Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff"}  # fmt: skip
_NO_RUNS = "<p>No runs yet. A drift that is detected starts one, and so does <code>mcqa pipeline run</code>."


class RunPages:
    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def index(self, _: Request) -> Response:
        """The newest runs. The links that kfp.Client prints (`/#/runs/details/…`) redirect from here."""
        response = await run_in_threadpool(self._runs.list, {"sort_by": "created_at desc", "page_size": "100"})
        runs = response.get("runs", [])
        table_html = (
            table(("run", "state", "created (UTC)", "took", "error"), map(_run_row, runs)) if runs else _NO_RUNS
        )
        changing = any(run["state"] in UNFINISHED for run in runs)
        return HTMLResponse(page("Pipeline runs", f"<h1>Pipeline runs</h1>{table_html}", changing=changing))

    async def run(self, request: Request) -> Response:
        return await run_in_threadpool(self._run, request.path_params["id"])

    def _run(self, key: str) -> Response:
        row = self._runs.row(key)
        tasks, artifacts, logs = (
            in_tree_order(self._runs.tasks(key)),
            list(self._artifacts(key)),
            self._runs.folder(key) / "logs",
        )
        lines = [
            _task_row(
                key,
                task,
                [artifact for artifact in artifacts if artifact["task_id"] == task["id"]],
                inside=[artifact for artifact in tasks if artifact["path"].startswith(task["path"] + "/")],
                logged=(logs / f"{task['id']}.log").exists(),
            )
            for task in tasks
        ]
        steps = table(("step", "state", "began (UTC)", "took", "made"), lines)
        parameters_json = escape(json.dumps(json.loads(row["parameters"]), indent=2))
        body = (
            f'<p><a href="/">← all runs</a><h1>{escape(row["display_name"])}</h1>'
            f'<p class="quiet">{escape(key)}, created {row["created_at"][:19].replace("T", " ")} UTC'
            f'<p class="{row["state"]}">{row["state"]} {escape(short_error(row["error"]))}'
            f"<p>{escape(row['description'])}"
            f"{steps}<h2>Parameters</h2><pre>{parameters_json}</pre>"
        )
        return HTMLResponse(page(row["display_name"], body, changing=row["state"] in UNFINISHED))

    async def artifacts(self, request: Request) -> Any:
        """What the run's tasks have produced so far: name, type, metadata, size in bytes, and where to read it."""
        key = request.path_params["id"]
        self._runs.row(key)
        return {"artifacts": await run_in_threadpool(lambda: list(self._artifacts(key)))}

    async def log(self, request: Request) -> Response:
        """The last MAX_LOG bytes that a task wrote."""
        key, task = request.path_params["id"], request.path_params["task"]
        self._runs.row(key)
        task_row = next((row for row in self._runs.tasks(key) if row["id"] == task), None)
        if task_row is None:
            raise not_found("task", task)
        content = await run_in_threadpool(tail, self._runs.folder(key) / "logs" / f"{task_row['id']}.log", MAX_LOG)
        return Response(content, media_type="text/plain; charset=utf-8", headers=_HEADERS)

    async def file(self, request: Request) -> Response:
        """An artifact's file. Only what a task declared is served, and only from the run's own folder."""
        key, artifact_path = request.path_params["id"], request.path_params["path"]
        self._runs.row(key)
        artifacts = await run_in_threadpool(
            lambda: {artifact["path"]: artifact for artifact in self._artifacts(key) if artifact["path"]}
        )
        if artifact_path not in artifacts:
            raise not_found("artifact", artifact_path)
        kind = (
            _TYPES.get(artifacts[artifact_path]["type"])
            or mimetypes.guess_type(artifact_path)[0]
            or "application/octet-stream"
        )
        path = self._runs.folder(key) / artifact_path
        if not path.is_file():
            return PlainTextResponse("".join(f"{entry.name}\n" for entry in sorted(path.iterdir())))
        return FileResponse(path, media_type=kind, headers=_HEADERS)

    def _artifacts(self, key: str) -> Iterator[dict[str, Any]]:
        root = self._runs.folder(key).resolve()
        for task in self._runs.tasks(key):
            for name, artifact in _artifact_outputs(task):
                path = Path(artifact["uri"]).resolve()
                if path.is_relative_to(root) and path.exists():
                    inside = path.relative_to(root).as_posix()
                    yield {
                        "task_id": task["id"], "task": task["name"], "name": name, "type": artifact["schema_title"],
                        "metadata": artifact["metadata"], "path": inside, "url": f"/runs/{key}/files/{quote(inside)}",
                        "size": path.stat().st_size,
                    }  # fmt: skip
                elif not path.is_relative_to(root) or artifact["metadata"]:
                    yield {
                        "task_id": task["id"], "task": task["name"], "name": name, "type": artifact["schema_title"],
                        "metadata": artifact["metadata"], "path": "", "url": "", "size": 0,
                    }  # fmt: skip


def _artifact_outputs(task: Row) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The artifacts among a task's outputs, as kfp.local serializes them."""
    for name, value in json.loads(task["outputs"]).items():
        if isinstance(value, dict) and value.get("__kfp_artifact__"):
            yield name, value
        elif isinstance(value, dict) and value.get("__kfp_artifact_list__"):
            for artifact in value.get("artifacts", []):
                yield name, artifact


def _run_row(run: Mapping[str, Any]) -> str:
    error = (run.get("error") or {}).get("message", "")
    return (
        f'<tr><td><a href="/runs/{run["run_id"]}">{escape(run["display_name"])}</a>'
        f'<td class="{run["state"]}">{run["state"]}{time_cell(run["created_at"])}'
        f"{duration_cell(run['created_at'], run.get('finished_at'))}"
        f'<td class="wrap" title="{escape(error)}">{escape(short_error(error))}'
    )


def _task_row(run: str, task: Row, artifacts: list[dict[str, Any]], inside: list[Row], *, logged: bool) -> str:
    links = []
    for entry in artifacts:
        label = escape(entry["name"])
        label = f'<a href="{entry["url"]}">{label}</a>' if entry["url"] else label
        links.append(f"{label} {escape(json.dumps(entry['metadata'])) if entry['metadata'] else ''}")
    name = escape(task["name"])
    if logged:
        name = f'<a href="/apis/v2beta1/runs/{run}/nodes/{task["id"]}/log">{name}</a>'
    groups = {entry["path"].rpartition("/")[0] for entry in inside}
    steps = [(entry["started_at"], entry["finished_at"]) for entry in inside if entry["path"] not in groups]
    # A group that was retried has pauses in it, during which nothing ran.
    duration = (
        seconds_cell(busy_seconds(steps))
        if steps and task["finished_at"]
        else duration_cell(task["started_at"], task["finished_at"])
    )
    error = f'<br><span class="wrap">{escape(task["error"])}</span>' if task["error"] else ""
    return (
        f'<tr><td style="padding-left:{0.7 + 1.3 * task["path"].count("/"):.1f}rem">{name}'
        f'<td class="{task["state"]}">{task["state"]}{error}{time_cell(task["started_at"], day=False)}'
        f'{duration}<td class="wrap">{"<br>".join(links)}'
    )
