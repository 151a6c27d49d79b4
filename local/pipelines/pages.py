"""For people: the runs, one run's steps, what they wrote, and the files they made (metrics, HTML, Markdown)."""

from __future__ import annotations

import html
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
from local.pipelines.logs import tail
from local.pipelines.runs import Runs

MAX_LOG = 4 * 1024 * 1024
_TYPES = {"system.HTML": "text/html; charset=utf-8", "system.Markdown": "text/markdown; charset=utf-8"}
# A step's HTML comes from data; it may show itself and reach nothing else.
_HEADERS = {"Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff"}  # fmt: skip
_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.3rem .7rem;border-bottom:1px solid #ddd;
vertical-align:top}}.FAILED{{color:#b00020}}.SUCCEEDED{{color:#0a7a2f}}.SKIPPED,.PENDING{{color:#777}}
pre{{white-space:pre-wrap}}</style>
<script>const run=location.hash.match(/^#\\/runs\\/details\\/([\\w-]+)/)
if(run)location.replace("/runs/"+run[1])</script>
<h1>{title}</h1>{body}"""


class Pages:
    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def index(self, _: Request) -> Response:
        """The newest runs. The links that kfp.Client prints (`/#/runs/details/…`) lead on from here."""
        found = await run_in_threadpool(self._runs.list, {"sort_by": "created_at desc", "page_size": "100"})
        rows = [
            f'<tr><td><a href="/runs/{run["run_id"]}">{_e(run["display_name"])}</a><td class="{run["state"]}">'
            f"{run['state']}<td>{run['created_at'][:19]}<td>{_e(run.get('error', {}).get('message', ''))}"
            for run in found.get("runs", [])
        ]
        return _page("Pipeline runs", _table("run state created error", rows))

    async def run(self, request: Request) -> Response:
        return await run_in_threadpool(self._run, request.path_params["id"])

    def _run(self, key: str) -> Response:
        row = self._runs.row(key)
        tasks, made = self._runs.tasks(key), list(self._artifacts(key))
        lines = [_task_line(key, task, [one for one in made if one["task_id"] == task["id"]]) for task in tasks]
        facts = f'<p class="{row["state"]}">{row["state"]} {_e(row["error"])}</p><p>{_e(row["description"])}</p>'
        given = _e(json.dumps(json.loads(row["parameters"]), indent=1))
        return _page(
            row["display_name"], f"{facts}{_table('step state began ended made', lines)}<h2>Parameters</h2><pre>{given}"
        )

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


def _task_line(run: str, task: Row, made: list[dict[str, Any]]) -> str:
    indent = "&nbsp;&nbsp;" * (task["path"].count("/") * 2)
    links = []
    for one in made:
        shown = _e(one["name"])
        shown = f'<a href="{one["url"]}">{shown}</a>' if one["url"] else shown
        links.append(f"{shown} {_e(json.dumps(one['metadata'])) if one['metadata'] else ''}")
    name = f'{indent}<a href="/apis/v2beta1/runs/{run}/nodes/{task["id"]}/log">{_e(task["name"])}</a>'
    times = f"<td>{task['started_at'][11:19]}<td>{task['finished_at'][11:19]}"
    state = f'<td class="{task["state"]}">{task["state"]} {_e(task["error"])}'
    return f"<tr><td>{name}{state}{times}<td>{'<br>'.join(links)}"


def _table(heads: str, rows: list[str]) -> str:
    return f"<table><tr>{''.join(f'<th>{head}' for head in heads.split())}{''.join(rows)}</table>"


def _page(title: str, body: str) -> Response:
    return HTMLResponse(_PAGE.format(title=_e(title), body=body))


def _e(text: str) -> str:
    return html.escape(text)
