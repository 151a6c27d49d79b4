"""For people: the runs, one run's steps, what they wrote, and the files they made (metrics, HTML, Markdown)."""

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
from local.pipelines.html_page import OPEN, busy, cause, escape, lasted, moment, page, table, took, tree
from local.pipelines.logs import tail
from local.pipelines.runs import Runs

MAX_LOG = 4 * 1024 * 1024
_TYPES = {"system.HTML": "text/html; charset=utf-8", "system.Markdown": "text/markdown; charset=utf-8"}
# A step's HTML comes from data; it may show itself and reach nothing else.
_HEADERS = {"Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff"}  # fmt: skip
_NO_RUNS = "<p>No runs yet. A drift that is detected starts one, and so does <code>mcqa pipeline run</code>."


class Pages:
    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def index(self, _: Request) -> Response:
        """The newest runs. The links that kfp.Client prints (`/#/runs/details/…`) lead on from here."""
        found = await run_in_threadpool(self._runs.list, {"sort_by": "created_at desc", "page_size": "100"})
        runs = found.get("runs", [])
        shown = table(("run", "state", "created (UTC)", "took", "error"), map(_run_line, runs)) if runs else _NO_RUNS
        changing = any(run["state"] in OPEN for run in runs)
        return HTMLResponse(page("Pipeline runs", f"<h1>Pipeline runs</h1>{shown}", changing=changing))

    async def run(self, request: Request) -> Response:
        return await run_in_threadpool(self._run, request.path_params["id"])

    def _run(self, key: str) -> Response:
        row = self._runs.row(key)
        tasks, made, logs = tree(self._runs.tasks(key)), list(self._artifacts(key)), self._runs.folder(key) / "logs"
        lines = [
            _task_line(
                key,
                task,
                [one for one in made if one["task_id"] == task["id"]],
                inside=[one for one in tasks if one["path"].startswith(task["path"] + "/")],
                logged=(logs / f"{task['id']}.log").exists(),
            )
            for task in tasks
        ]
        steps = table(("step", "state", "began (UTC)", "took", "made"), lines)
        given = escape(json.dumps(json.loads(row["parameters"]), indent=2))
        body = (
            f'<p><a href="/">← all runs</a><h1>{escape(row["display_name"])}</h1>'
            f'<p class="quiet">{escape(key)}, created {row["created_at"][:19].replace("T", " ")} UTC'
            f'<p class="{row["state"]}">{row["state"]} {escape(cause(row["error"]))}<p>{escape(row["description"])}'
            f"{steps}<h2>Parameters</h2><pre>{given}</pre>"
        )
        return HTMLResponse(page(row["display_name"], body, changing=row["state"] in OPEN))

    async def artifacts(self, request: Request) -> Any:
        """What the run's tasks have made so far: name, type, metadata, size in bytes, and where to read it."""
        key = request.path_params["id"]
        self._runs.row(key)
        return {"artifacts": await run_in_threadpool(lambda: list(self._artifacts(key)))}

    async def log(self, request: Request) -> Response:
        """The last MAX_LOG bytes that a task wrote."""
        key, task = request.path_params["id"], request.path_params["task"]
        self._runs.row(key)
        known = next((row for row in self._runs.tasks(key) if row["id"] == task), None)
        if known is None:
            raise not_found("task", task)
        content = await run_in_threadpool(tail, self._runs.folder(key) / "logs" / f"{known['id']}.log", MAX_LOG)
        return Response(content, media_type="text/plain; charset=utf-8", headers=_HEADERS)

    async def file(self, request: Request) -> Response:
        """An artifact's file. Only what a task said it made is served, and only from the run's own folder."""
        key, wanted = request.path_params["id"], request.path_params["path"]
        self._runs.row(key)
        made = await run_in_threadpool(lambda: {one["path"]: one for one in self._artifacts(key) if one["path"]})
        if wanted not in made:
            raise not_found("artifact", wanted)
        kind = _TYPES.get(made[wanted]["type"]) or mimetypes.guess_type(wanted)[0] or "application/octet-stream"
        path = self._runs.folder(key) / wanted
        if not path.is_file():
            return PlainTextResponse("".join(f"{entry.name}\n" for entry in sorted(path.iterdir())))
        return FileResponse(path, media_type=kind, headers=_HEADERS)

    def _artifacts(self, key: str) -> Iterator[dict[str, Any]]:
        root = self._runs.folder(key).resolve()
        for task in self._runs.tasks(key):
            for name, artifact in _outputs(task):
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


def _outputs(task: Row) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The artifacts among a task's outputs, as kfp.local writes them down."""
    for name, value in json.loads(task["outputs"]).items():
        if isinstance(value, dict) and value.get("__kfp_artifact__"):
            yield name, value
        elif isinstance(value, dict) and value.get("__kfp_artifact_list__"):
            for artifact in value.get("artifacts", []):
                yield name, artifact


def _run_line(run: Mapping[str, Any]) -> str:
    error = (run.get("error") or {}).get("message", "")
    return (
        f'<tr><td><a href="/runs/{run["run_id"]}">{escape(run["display_name"])}</a>'
        f'<td class="{run["state"]}">{run["state"]}{moment(run["created_at"])}'
        f"{took(run['created_at'], run.get('finished_at'))}"
        f'<td class="wrap" title="{escape(error)}">{escape(cause(error))}'
    )


def _task_line(run: str, task: Row, made: list[dict[str, Any]], inside: list[Row], *, logged: bool) -> str:
    links = []
    for one in made:
        shown = escape(one["name"])
        shown = f'<a href="{one["url"]}">{shown}</a>' if one["url"] else shown
        links.append(f"{shown} {escape(json.dumps(one['metadata'])) if one['metadata'] else ''}")
    name = escape(task["name"])
    if logged:
        name = f'<a href="/apis/v2beta1/runs/{run}/nodes/{task["id"]}/log">{name}</a>'
    groups = {one["path"].rpartition("/")[0] for one in inside}
    steps = [(one["started_at"], one["finished_at"]) for one in inside if one["path"] not in groups]
    # A group that was tried again has pauses in it, which nobody worked.
    duration = lasted(busy(steps)) if steps and task["finished_at"] else took(task["started_at"], task["finished_at"])
    error = f'<br><span class="wrap">{escape(task["error"])}</span>' if task["error"] else ""
    return (
        f'<tr><td style="padding-left:{0.7 + 1.3 * task["path"].count("/"):.1f}rem">{name}'
        f'<td class="{task["state"]}">{task["state"]}{error}{moment(task["started_at"], day=False)}'
        f'{duration}<td class="wrap">{"<br>".join(links)}'
    )
