"""The body of a run's page: graph, steps, metrics, inputs and outputs, parameters. Pure.

Names are sorted: in a compiled pipeline and in what a step writes, their order is not the author's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from local.pipelines.graph_layout import Node
from local.pipelines.graph_svg import Drawn, graph
from local.pipelines.html_rendering import (
    busy_seconds,
    cell,
    duration_text,
    error_html,
    escape,
    head_cell,
    in_time_order,
    link,
    row,
    seconds_text,
    size_text,
    state_cell,
    state_text,
    table,
    time_cell,
    time_html,
    value_html,
)
from local.pipelines.metrics_tables import tables
from local.pipelines.run_view import RunView, Task
from local.pipelines.task_values import Artifact, Values

ARCHIVED = ' <span class="tag">archived</span>'
_KINDS = {"condition": "if", "loop": "for each item", "importer": "importer"}


def body(run: RunView, *, has_version: bool) -> str:
    """The page's HTML below the navigation. `has_version`: the pipeline version that it runs was not deleted since."""
    tasks = in_time_order(run.tasks)
    took = _durations(tasks)
    heads = ("step", "state", "began", "took", "made")
    rows = [_step_row(task, took[task.id]) for task in tasks]
    return "".join(
        (
            _head(run, has_version),
            '<h2 id="graph">Graph</h2>',
            _graph(run.tasks, took),
            '<h2 id="steps">Steps, in the order in which they began</h2>',
            table(heads, rows),
            _metrics(tasks),
            _inputs_and_outputs(tasks),
            _parameters(run),
        )
    )


def file_url(run_id: str, path: str) -> str:
    """Where a file or folder inside a run's folder is served."""
    return f"/runs/{quote(run_id)}/files/{quote(path)}"


def _head(run: RunView, has_version: bool) -> str:
    entry = run.row
    took = duration_text(entry["created_at"], entry["finished_at"])
    pages = [link(f"/experiments/{quote(entry['experiment_id'])}", "its experiment")]
    if has_version:
        version = f"/pipelines/{quote(entry['pipeline_id'])}/versions/{quote(entry['version_id'])}"
        pages.append(link(version, "the pipeline version it runs"))
    error = f'<div class="wrap FAILED">{error_html(entry["error"])}</div>' if entry["error"] else ""
    archived = ARCHIVED if entry["storage_state"] == "ARCHIVED" else ""
    return (
        f"<h1>{escape(entry['display_name'])}</h1>"
        f'<p class="quiet wrap">{escape(run.id)}{archived}'
        f'<p><span class="{escape(entry["state"])}">{state_text(entry["state"])}</span>, created '
        f"{time_html(entry['created_at'])}{f', took {took}' if took else ''}{error}"
        + (f"<p>{escape(entry['description'])}" if entry["description"] else "")
        + f"<p>{' · '.join(pages)}"
    )


def _graph(tasks: Sequence[Task], took: Mapping[str, str]) -> str:
    if not tasks:
        return '<p class="quiet">No step was reached.'
    drawn = {task.id: Drawn(task.name, task.state, took[task.id]) for task in tasks}
    return graph(_nodes(tasks), drawn, lambda id: f"step-{id}", "The run's steps, from first to last")


def _nodes(tasks: Sequence[Task]) -> tuple[Node, ...]:
    inside: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: task.iteration or 0):
        inside.setdefault(task.parent_id, []).append(task)

    def nodes(parent: str) -> tuple[Node, ...]:
        return tuple(Node(task.id, task.needs, nodes(task.id)) for task in inside.get(parent, ()))

    return nodes("")


def _durations(tasks: Sequence[Task]) -> dict[str, str]:
    """How long each task took, by id. A group that was retried has pauses in it, during which nothing ran."""
    groups = {task.parent_id for task in tasks}
    inside: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for task in tasks:
        for depth in range(1, len(task.path) if task.id not in groups else 0):
            inside.setdefault(task.path[:depth], []).append((task.started_at, task.finished_at))
    return {
        task.id: seconds_text(busy_seconds(inside[task.path]))
        if task.path in inside and task.finished_at
        else duration_text(task.started_at, task.finished_at)
        for task in tasks
    }


def _step_row(task: Task, took: str) -> str:
    log = f"/apis/v2beta1/runs/{quote(task.run_id)}/nodes/{quote(task.id)}/log"
    more = []
    if task.is_logged:
        more.append(f'<a href="{log}" aria-label="log of {escape(task.name)}">log</a>')
    if _has_data(task):
        more.append(f'<a href="#io-{escape(task.id)}" aria-label="data of {escape(task.name)}">data</a>')
    name = f"{escape(task.name)}{''.join(f' {entry}' for entry in more)}"
    error = f'<div class="wrap">{error_html(task.error)}</div>' if task.error else ""
    again = f'<br><span class="quiet">executed {task.executions} times</span>' if task.executions > 1 else ""
    made = "<br>".join(_artifact_link(artifact) for artifact in _artifacts(task.outputs) if artifact.path)
    kind = f' <span class="tag">{_KINDS[task.kind]}</span>' if task.kind in _KINDS else ""
    depth = min(len(task.path) - 1, 4)
    return (
        f'<tr id="step-{escape(task.id)}">'
        f'<th scope="row" class="wrap{f" d{depth}" if depth else ""}">{name}{kind}'
        f"{state_cell(task.state, error + again)}{time_cell(task.started_at, day=False)}"
        f"{cell(took, 't')}{cell(made, 'wrap')}"
    )


def _artifacts(values: Values) -> list[Artifact]:
    return [artifact for _, found in sorted(values.artifacts.items()) for artifact in found]


def _artifact_link(artifact: Artifact) -> str:
    if not artifact.path:
        return f'<span class="quiet wrap">{escape(artifact.uri)}</span>' if "://" in artifact.uri else "no file"
    size = "folder" if artifact.is_folder else size_text(artifact.size)
    return f'{link(file_url(artifact.run_id, artifact.path), artifact.name)} <span class="quiet">{size}</span>'


def _metrics(tasks: Iterable[Task]) -> str:
    shown = "".join(
        tables(f"{task.name}: {artifact.name}", artifact.metadata)
        for task in tasks
        for artifact in _artifacts(task.outputs)
        if _is_metrics(artifact)
    )
    return f'<h2 id="metrics">Metrics</h2>{shown}' if shown else ""


def _is_metrics(artifact: Artifact) -> bool:
    return artifact.type.endswith("Metrics")


def _has_data(task: Task) -> bool:
    return any(values.parameters or values.artifacts for values in (task.inputs, task.outputs))


def _inputs_and_outputs(tasks: Iterable[Task]) -> str:
    shown = "".join(map(_input_output, tasks))
    return f'<h2 id="inputs">Inputs and outputs</h2>{shown}' if shown else ""


def _input_output(task: Task) -> str:
    parts = []
    for caption, values in (("inputs", task.inputs), ("outputs", task.outputs)):
        cells = {name: value_html(value) for name, value in sorted(values.parameters.items())}
        for name, artifacts in sorted(values.artifacts.items()):
            cells[name] = "<br>".join(map(_artifact_value, artifacts))
        rows = [row(head_cell(escape(name)), cell(content, "wrap")) for name, content in cells.items()]
        if rows:
            parts.append(table(("name", "value"), rows, f"{task.name}: {caption}"))
    if not parts:
        return ""
    return (
        f'<details id="io-{escape(task.id)}"><summary>{escape("/".join(task.path))}</summary>{"".join(parts)}</details>'
    )


def _artifact_value(artifact: Artifact) -> str:
    shown = f'{_artifact_link(artifact)} <span class="quiet">{escape(artifact.type.removeprefix("system."))}'
    shown += f" of {escape(artifact.task_name)}</span>"
    if _is_metrics(artifact) or not artifact.metadata:
        return shown
    return f"{shown}<br>{value_html(dict(artifact.metadata))}"


def _parameters(run: RunView) -> str:
    if not run.parameters:
        return ""
    rows = [
        row(
            head_cell(escape(name)),
            cell(value_html(value), "wrap"),
            cell("given" if name in run.given else '<span class="quiet">default</span>'),
        )
        for name, value in sorted(run.parameters.items())
    ]
    return f'<h2 id="parameters">Effective parameters</h2>{table(("parameter", "value", "from"), rows)}'
