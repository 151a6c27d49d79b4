"""The bodies of the pages that list: runs, experiments, pipelines and their versions, schedules. Pure.

What is listed are the API's messages (serializers.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from local.pipelines.graph_layout import Node
from local.pipelines.graph_svg import Drawn, graph
from local.pipelines.html_rendering import (
    cell,
    clipped,
    duration_cell,
    escape,
    head_cell,
    link,
    row,
    short_error,
    size_text,
    state_cell,
    table,
    time_cell,
    time_html,
    value_html,
)
from local.pipelines.pipeline_spec import component_of, topological_order
from local.pipelines.run_page import ARCHIVED

Message = Mapping[str, Any]

_NO_RUNS = "<p>No runs yet. A drift that is detected starts one, and so does <code>mcqa pipeline run</code>."
_FOLLOW = """<noscript><p>An address with <code>/#/runs/details/ID</code>, as kfp.Client prints it, needs JavaScript
to lead on; without it, find the run here, the rest under the pages above.</p></noscript>"""


def runs(messages: Sequence[Message], experiments: Mapping[str, str], older: str) -> str:
    """`experiments`: names by id; `older`: the token of the next page, or ""."""
    return f"<h1>Pipeline runs</h1>{_FOLLOW}{_runs(messages, experiments)}{_older('/runs', older)}"


def experiments(messages: Sequence[Message], older: str) -> str:
    rows = [
        row(
            head_cell(link(f"/experiments/{quote(entry['experiment_id'])}", entry["display_name"]) + _archived(entry)),
            cell(escape(entry.get("description", "")), "wrap"),
            time_cell(entry["created_at"]),
            time_cell(entry.get("last_run_created_at")),
        )
        for entry in messages
    ]
    heads = ("experiment", "description", "created", "last run")
    return f"<h1>Experiments</h1>{table(heads, rows)}{_older('/experiments', older)}"


def experiment(message: Message, its_runs: Sequence[Message], older: str) -> str:
    path = f"/experiments/{quote(message['experiment_id'])}"
    shown = _runs(its_runs, {}) if its_runs else "<p>No runs in this experiment."
    return (
        f"<h1>{escape(message['display_name'])}</h1>"
        f'<p class="quiet wrap">Experiment {escape(message["experiment_id"])}{_archived(message)}, created '
        f"{time_html(message['created_at'])}<p>{escape(message.get('description', ''))}"
        f"<h2>Runs</h2>{shown}{_older(path, older)}"
    )


def pipelines(messages: Sequence[Message], older: str) -> str:
    if not messages:
        return "<h1>Pipelines</h1><p>No pipeline was uploaded yet: <code>mcqa pipeline upload</code> does it."
    rows = [
        row(
            head_cell(link(f"/pipelines/{quote(entry['pipeline_id'])}", entry["display_name"])),
            cell(escape(entry.get("description", "")), "wrap"),
            time_cell(entry["created_at"]),
        )
        for entry in messages
    ]
    return f"<h1>Pipelines</h1>{table(('pipeline', 'description', 'created'), rows)}{_older('/pipelines', older)}"


def pipeline(message: Message, versions: Sequence[Message], older: str) -> str:
    """`versions`: newest first."""
    path = f"/pipelines/{quote(message['pipeline_id'])}"
    rows = [
        row(
            head_cell(link(f"{path}/versions/{quote(entry['pipeline_version_id'])}", entry["display_name"])),
            cell(escape(entry.get("description", "")), "wrap"),
            time_cell(entry["created_at"]),
        )
        for entry in versions
    ]
    listed = table(("version", "description", "created"), rows) if rows else "<p>It has no versions."
    newest = _specification(versions[0]["pipeline_spec"]) if versions else ""
    return (
        f"<h1>{escape(message['display_name'])}</h1>"
        f'<p class="quiet wrap">Pipeline {escape(message["pipeline_id"])}, created {time_html(message["created_at"])}'
        f"<p>{escape(message.get('description', ''))}<h2>Versions</h2>{listed}{_older(path, older)}"
        + (f'<p class="quiet wrap">Below: {escape(versions[0]["display_name"])}</p>{newest}' if newest else "")
    )


def version(message: Message, its_runs: Sequence[Message]) -> str:
    path = f"/pipelines/{quote(message['pipeline_id'])}"
    shown = _runs(its_runs, {}) if its_runs else "<p>No runs of this version."
    return (
        f"<h1>{escape(message['display_name'])}</h1>"
        f'<p class="quiet wrap">Version {escape(message["pipeline_version_id"])} of '
        f"{link(path, 'its pipeline')}, created {time_html(message['created_at'])}"
        f"<p>{escape(message.get('description', ''))}"
        f"{_specification(message['pipeline_spec'])}<h2>Newest runs of it</h2>{shown}"
    )


def schedules(messages: Sequence[Message], older: str) -> str:
    if not messages:
        return (
            "<h1>Schedules</h1><p>No recurring runs. The loop makes none: its timers ask the retrain function, which "
            "decides whether a run is due."
        )
    rows = [
        row(
            head_cell(escape(entry["display_name"])),
            cell(escape(entry["status"].lower())),
            cell(f"<code>{escape(_when(entry['trigger']))}</code>"),
            time_cell(entry["created_at"]),
            cell(escape((entry.get("error") or {}).get("message", "")), "wrap"),
        )
        for entry in messages
    ]
    heads = ("schedule", "state", "when", "created", "error")
    return f"<h1>Schedules</h1>{table(heads, rows)}{_older('/schedules', older)}"


def folder(path: str, run: tuple[str, str], entries: Sequence[tuple[str, str, int | None]], count: int) -> str:
    """A folder that a step made: `entries` are names, addresses ("": none) and sizes in bytes (None:
    a folder), of `count`.
    """
    run_id, run_name = run
    rows = [
        row(
            head_cell(link(href, shown) if href else escape(shown)),
            cell("folder" if size is None else size_text(size), "n"),
        )
        for name, href, size in entries
        for shown in [name if size is not None else f"{name}/"]
    ]
    rest = f"<p>{count - len(entries):,} more are not shown." if count > len(entries) else ""
    shown = table(("name", "size"), rows) if rows else "<p>This folder is empty."
    return f"<h1>{escape(path)}</h1><p>of the run {link(f'/runs/{quote(run_id)}', run_name)}{shown}{rest}"


def _runs(messages: Iterable[Message], experiments: Mapping[str, str]) -> str:
    rows = [_run_row(entry, experiments) for entry in messages]
    heads = ("run", "state", "created", "took", *(("experiment",) if experiments else ()), "error")
    return table(heads, rows) if rows else _NO_RUNS


def _run_row(entry: Message, experiments: Mapping[str, str]) -> str:
    error = (entry.get("error") or {}).get("message", "")
    place = entry.get("experiment_id", "")
    cells = [
        head_cell(link(f"/runs/{quote(entry['run_id'])}", entry["display_name"]) + _archived(entry)),
        state_cell(entry["state"]),
        time_cell(entry["created_at"]),
        duration_cell(entry["created_at"], entry.get("finished_at")),
    ]
    if experiments:
        cells.append(cell(link(f"/experiments/{quote(place)}", experiments.get(place, place[:8])), "wrap"))
    return row(*cells, f'<td class="wrap" title="{escape(error)}">{escape(short_error(error))}')


def _archived(entry: Message) -> str:
    return ARCHIVED if entry.get("storage_state") == "ARCHIVED" else ""


def _older(path: str, token: str) -> str:
    return f"<p>{link(f'{path}?' + urlencode({'page_token': token}), 'Older')}" if token else ""


def _specification(spec: Mapping[str, Any]) -> str:
    drawn: dict[str, Drawn] = {}
    nodes = _nodes(spec, spec["root"], "", drawn)
    anchors = {key: f"task-{index}" for index, key in enumerate(drawn)}
    steps = [_task_row(key, drawn[key], anchors[key]) for key in drawn]
    definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    inputs = [_input_row(name, definition) for name, definition in sorted(definitions.items())]
    return (
        f"<h2>Graph</h2>{graph(nodes, drawn, anchors.__getitem__, 'The steps of the pipeline, from first to last')}"
        f"<h2>Steps</h2>{table(('step', 'what it is'), steps)}"
        + (f"<h2>Parameters</h2>{table(('parameter', 'type', 'default', 'meaning'), inputs)}" if inputs else "")
        + "<h2>Specification</h2><details><summary>Kubeflow's IR as JSON</summary>"
        f"<pre>{escape(clipped(json.dumps(spec, indent=2, ensure_ascii=False)))}</pre></details>"
    )


def _nodes(spec: Any, component: Any, path: str, drawn: dict[str, Drawn]) -> tuple[Node, ...]:
    tasks = component.get("dag", {}).get("tasks", {})
    nodes = []
    for key in topological_order(tasks):
        task = tasks[key]
        here = f"{path}/{key}" if path else key
        drawn[here] = Drawn(task.get("taskInfo", {}).get("name") or key, note=_note(task))
        inner = component_of(spec, task)
        children = _nodes(spec, inner, here, drawn) if "dag" in inner else ()
        after = tuple(f"{path}/{other}" if path else other for other in task.get("dependentTasks", ()))
        nodes.append(Node(here, after, children))
    return tuple(nodes)


def _note(task: Message) -> str:
    policy = task.get("triggerPolicy", {})
    if policy.get("condition"):
        return "if"
    if "parameterIterator" in task or "artifactIterator" in task:
        return "for each item"
    return "in any case" if policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED" else ""


def _task_row(path: str, drawn: Drawn, anchor: str) -> str:
    depth = min(path.count("/"), 4)
    return (
        f'<tr id="{anchor}"><th scope="row" class="wrap{f" d{depth}" if depth else ""}">{escape(drawn.name)}'
        f"{cell(escape(drawn.note))}"
    )


def _input_row(name: str, definition: Message) -> str:
    default = definition.get("defaultValue")
    shown = value_html(default) if "defaultValue" in definition else "optional" if definition.get("isOptional") else ""
    return row(
        head_cell(escape(name)),
        cell(escape(definition.get("parameterType", "").lower().replace("_", " "))),
        cell(shown or '<span class="quiet">required</span>', "wrap"),
        cell(escape(definition.get("description", "")), "wrap"),
    )


def _when(trigger: Mapping[str, Any]) -> str:
    if cron := (trigger.get("cron_schedule") or {}).get("cron"):
        return str(cron)
    return f"every {(trigger.get('periodic_schedule') or {}).get('interval_second')} s"
