"""A run's view as ML Metadata's entries: its context, executions, artifacts and events. Pure.

As Kubeflow's driver records a run: a context `system.PipelineRun` named by the run's id; a root execution without a
task name; one execution a task, whose `parent_dag_id` is the execution around it; each iteration of a loop an execution
of the loop's name with an `iteration_index`. Lists and objects in an artifact's metadata are structs {"list": …} and
{"struct": …}, where the UI's charts look for them. Ids: a context is its run's number, an execution twice its task's
number, a root execution twice its run's number and one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from google.protobuf import json_format, struct_pb2

from local.pipelines.database import Row
from local.pipelines.metadata_messages import message
from local.pipelines.run_view import RunView, Task
from local.pipelines.task_values import Artifact

PIPELINE_CONTEXT, RUN_CONTEXT = CONTEXT_TYPES = ("system.Pipeline", "system.PipelineRun")
EXECUTION_TYPES = ("system.DAGExecution", "system.ContainerExecution", "system.ImporterExecution")
ARTIFACT_TYPES = (
    "system.Artifact", "system.Dataset", "system.Model", "system.Metrics", "system.ClassificationMetrics",
    "system.SlicedClassificationMetrics", "system.HTML", "system.Markdown",
)  # fmt: skip
STORE, BUCKET = "minio", "runs"
"""The scheme and bucket of an address in a run's folder: the UI reads files only from stores that it knows by name, and
makes links of this one's. Nothing of MinIO's is here (artifact_routes.py).
"""
_STATES = {"PENDING": 1, "RUNNING": 2, "SUCCEEDED": 3, "FAILED": 4, "CANCELED": 6, "CANCELING": 2, "SKIPPED": 6}
"""ML Metadata's Execution.State: NEW, RUNNING, COMPLETE, FAILED, CANCELED."""
_INPUT, _OUTPUT, _LIVE = 3, 4, 2


def type_number(kind: str, name: str) -> int:
    """The id of a type, which is the same in every process: known types by their place, others by their name."""
    known = {"execution": EXECUTION_TYPES, "context": CONTEXT_TYPES}.get(kind, ARTIFACT_TYPES)
    return known.index(name) + 1 if name in known else 1000 + zlib.crc32(name.encode())


def context(row: Row) -> Any:
    """The context of a run."""
    return message("Context")(
        id=row["seq"], name=row["id"], type_id=type_number("context", RUN_CONTEXT), type=RUN_CONTEXT,
        create_time_since_epoch=_milliseconds(row["created_at"]),
        last_update_time_since_epoch=_milliseconds(row["finished_at"] or row["created_at"]),
        custom_properties={"display_name": _value(row["display_name"])},
    )  # fmt: skip


def executions(view: RunView) -> list[Any]:
    """The root execution, and one for every task."""
    ids = {task.id: task.number * 2 for task in view.tasks}
    row, root = view.row, view.number * 2 + 1
    times = (row["created_at"], row["finished_at"])
    named = {"display_name": row["display_name"], "task_name": "", "inputs": view.parameters}
    whole = _execution(view, root, "system.DAGExecution", row["state"], times, named)
    return [whole, *(_task(view, task, ids.get(task.parent_id, root)) for task in view.tasks)]


def artifacts(view: RunView) -> list[Any]:
    """What the run's tasks have produced."""
    made = {task.id: _milliseconds(task.finished_at or task.created_at) for task in view.tasks}
    return [_artifact(view, entry, made.get(entry.task_id, 0)) for entry in view.artifacts]


def events(view: RunView) -> Iterator[Any]:
    """Which task read and which wrote which artifact, under which name."""
    for task in view.tasks:
        given = ((name, entry, _INPUT) for name, entries in task.inputs.artifacts.items() for entry in entries)
        made = ((name, entry, _OUTPUT) for name, entries in task.outputs.artifacts.items() for entry in entries)
        for name, artifact, kind in (*given, *made):
            time = task.started_at if kind == _INPUT else task.finished_at
            yield message("Event")(
                artifact_id=artifact.number, execution_id=task.number * 2, type=kind,
                path={"steps": [{"key": name}, {"index": artifact.index}]},
                milliseconds_since_epoch=_milliseconds(time or task.created_at),
            )  # fmt: skip


def store_uri(artifact: Artifact) -> str:
    """Where the UI finds an artifact: in the run's folder, or the artifact's own address elsewhere."""
    return f"{STORE}://{BUCKET}/{artifact.run_id}/{artifact.place}" if artifact.place else artifact.uri


def _task(view: RunView, task: Task, parent: int) -> Any:
    properties: dict[str, Any] = {
        "display_name": task.name, "task_name": task.key, "parent_dag_id": parent, "inputs": task.inputs.parameters,
        "outputs": task.outputs.parameters,
    }  # fmt: skip
    if task.kind == "step":
        properties["pod_name"] = task.id
    if task.iteration is not None:
        properties |= {"display_name": f"{task.key}.{task.iteration}", "iteration_index": task.iteration}
    if task.iterations is not None:
        properties["iteration_count"] = task.iterations
    if task.error:
        properties["error"] = task.error
    kind = {"step": EXECUTION_TYPES[1], "importer": EXECUTION_TYPES[2]}.get(task.kind, EXECUTION_TYPES[0])
    times = (task.started_at or task.created_at, task.finished_at)
    return _execution(view, task.number * 2, kind, task.state, times, properties)


def _execution(
    view: RunView, number: int, kind: str, state: str, times: tuple[str, str], properties: Mapping[str, Any]
) -> Any:
    began, ended = times
    return message("Execution")(
        id=number, type_id=type_number("execution", kind), type=kind, name=f"run/{view.id}/{number}",
        last_known_state=_STATES.get(state, 0), create_time_since_epoch=_milliseconds(began),
        last_update_time_since_epoch=_milliseconds(ended or began),
        properties={"pipeline_name": _value(view.pipeline)},
        custom_properties={
            name: _struct(value) if isinstance(value, Mapping) else _value(value)
            for name, value in properties.items()
            if value != {}
        },
    )  # fmt: skip


def _artifact(view: RunView, artifact: Artifact, made: int) -> Any:
    return message("Artifact")(
        id=artifact.number, type_id=type_number("artifact", artifact.type), type=artifact.type,
        uri=store_uri(artifact), state=_LIVE, create_time_since_epoch=made, last_update_time_since_epoch=made,
        properties={"pipeline_name": _value(view.pipeline)},
        custom_properties={
            **{str(name): _metadata_value(value) for name, value in artifact.metadata.items()},
            "display_name": _value(artifact.name),
        },
    )  # fmt: skip


def _metadata_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _struct({"struct": value})
    return _struct({"list": value}) if isinstance(value, list | tuple) else _value(value)


def _value(value: Any) -> Any:
    """A number or a text. A bool is text, because the UI shows nothing for a bool_value."""
    new = message("Value")
    if isinstance(value, bool) or value is None:
        return new(string_value=json.dumps(value))
    if isinstance(value, int) and abs(value) < 2**53:
        return new(int_value=value)
    return new(double_value=value) if isinstance(value, int | float) else new(string_value=str(value))


def _struct(value: Mapping[str, Any]) -> Any:
    struct = struct_pb2.Struct()
    try:
        struct.update(value)
    except (ValueError, TypeError):  # keys that are not text, or numbers that JSON does not have
        json_format.Parse(json.dumps(json.loads(json.dumps(value), parse_constant=str)), struct)
    # The class of our own pool has a Struct of its own.
    encoded = message("Value")()
    encoded.struct_value.MergeFromString(struct.SerializeToString())
    return encoded


def _milliseconds(time: str) -> int:
    """Since the epoch; 0 for no time."""
    return int(datetime.fromisoformat(time).timestamp() * 1000) if time else 0
