"""A run as its tables and its folder show it: tasks in a tree, what each was given, and what it produced.

One neutral view for every face of the API: the small pages, the metadata facade and the artifact routes of Kubeflow's
UI. Nothing here is rendered, and nothing is stored: inputs are resolved from the run's spec and its tasks' outputs.
Times are the tables' own (RFC 3339, UTC), "" where there is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from local.pipelines.database import Row
from local.pipelines.pipeline_spec import Spec, component_of
from local.pipelines.task_values import UNKNOWN, Artifact, Values, by_kind, filled, produced, selected

Kind = Literal["step", "importer", "group", "condition", "loop", "iteration"]
"""`group`: a nested pipeline, an exit handler's tasks or the branches of a condition."""

_ITERATION = re.compile(r"-iteration-(\d+)$")


@dataclass(frozen=True, slots=True)
class Task:
    """`number` is unique among the tasks of all runs; `path` leads from the run to it, by keys of the spec, and an
    iteration of a loop is a level of its own. `name` is for people.

    `needs` holds the ids of the tasks of its group that it waits for. `iteration` is set for an iteration, `iterations`
    (how many began) for a loop. `is_logged`: its steps' process wrote a log.
    """

    number: int
    id: str
    run_id: str
    path: tuple[str, ...]
    name: str
    kind: Kind
    state: str
    created_at: str
    started_at: str
    finished_at: str
    error: str
    executions: int
    parent_id: str
    needs: tuple[str, ...]
    iteration: int | None
    iterations: int | None
    inputs: Values
    outputs: Values
    is_logged: bool

    @property
    def key(self) -> str:
        """The name that the spec knows it by: a loop's own name for each of its iterations."""
        return self.path[-2] if self.iteration is not None else self.path[-1]


class RunView:
    """One run; `row` and `tasks` are rows of the tables, `folder` is the run's own, which need not exist."""

    def __init__(self, row: Row, tasks: Iterable[Row], folder: Path) -> None:
        self.row = row
        self.id: str = row["id"]
        self.number: int = row["seq"]
        self.spec: Spec = json.loads(row["spec"])
        self.folder = folder
        self._rows = {tuple(task["path"].split("/")): task for task in tasks}

    @property
    def pipeline(self) -> str:
        """The name of the pipeline in the spec."""
        return str(self.spec["pipelineInfo"]["name"])

    @cached_property
    def given(self) -> dict[str, Any]:
        """The parameters that the run was given."""
        parameters: dict[str, Any] = json.loads(self.row["parameters"])
        return parameters

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The parameters that apply: what was given, and the defaults of the rest."""
        return _with_defaults(self.given, self.spec["root"])

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Every task, parents first and otherwise in the order in which they were added."""
        return tuple(self._task(path, row) for path, row in self._rows.items())

    @cached_property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Everything that the tasks have produced so far."""
        return tuple(
            artifact
            for path in self._rows
            for entries in self._outputs[path].artifacts.values()
            for artifact in entries
        )

    def task(self, key: str) -> Task | None:
        """The task of this id."""
        return next((task for task in self.tasks if task.id == key), None)

    def file(self, artifact: Artifact) -> Path:
        """Where an artifact with a path is; always inside the run's folder."""
        return self.folder / artifact.path

    @cached_property
    def _outputs(self) -> dict[tuple[str, ...], Values]:
        root = self.folder.resolve()
        return {path: produced(row, root) for path, row in self._rows.items()}

    def _task(self, path: tuple[str, ...], row: Row) -> Task:
        found = self._locate(path)
        spec, component, iteration = found or ({}, {}, None)
        inputs = self._inputs(path)
        parent = self._rows.get(path[:-1])
        needs = [self._rows.get((*path[:-1], other)) for other in spec.get("dependentTasks", [])]
        is_loop = iteration is None and _iterates(spec)
        return Task(
            number=row["seq"], id=row["id"], run_id=self.id, path=path, name=row["name"],
            kind=self._kind(spec, component, iteration), state=row["state"], created_at=row["created_at"],
            started_at=row["started_at"], finished_at=row["finished_at"], error=row["error"],
            executions=row["executions"], parent_id=parent["id"] if parent else "",
            needs=() if iteration is not None else tuple(other["id"] for other in needs if other),
            iteration=iteration, iterations=len(self._iterations(path)) if is_loop else None,
            inputs=by_kind(inputs), outputs=self._outputs[path],
            is_logged=(self.folder / "logs" / f"{row['id']}.log").exists(),
        )  # fmt: skip

    def _kind(self, spec: Spec, component: Spec, iteration: int | None) -> Kind:
        if iteration is not None:
            return "iteration"
        if _iterates(spec):
            return "loop"
        if "dag" in component:
            return "condition" if spec.get("triggerPolicy", {}).get("condition") else "group"
        executors = self.spec.get("deploymentSpec", {}).get("executors", {})
        return "importer" if "importer" in executors.get(component.get("executorLabel", ""), {}) else "step"

    def _locate(self, path: Sequence[str]) -> tuple[Spec, Spec, int | None] | None:
        """The task's spec, its component, and which iteration it is; None for a path that the spec does not have."""
        component: Spec = self.spec["root"]
        task: Spec = {}
        iteration: int | None = None
        for level, key in enumerate(path):
            above = path[level - 1] if level else ""
            match = _ITERATION.search(key)
            if iteration is None and _iterates(task) and match and key == f"{above}{match[0]}":
                iteration = int(match[1])  # the loop's own component once more
                continue
            inner = component.get("dag", {}).get("tasks", {}).get(key)
            if inner is None:
                return None
            task, component, iteration = inner, component_of(self.spec, inner), None
        return task, component, iteration

    def _iterations(self, loop: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The paths of a loop's iterations, in their order."""
        found = [path for path in self._rows if path[:-1] == loop and path[-1].startswith(f"{loop[-1]}-iteration-")]
        return sorted(found, key=lambda path: int(path[-1].rpartition("-")[2]))

    def _inputs(self, path: tuple[str, ...]) -> dict[str, Any]:
        """What a task, or with () the run, is given by name: values, and tuples of artifacts."""
        if path in self._resolved:
            return self._resolved[path]
        found = self._locate(path)
        if not path or found is None:
            values = dict(self.parameters) if not path else {}
        else:
            values = self._resolve_inputs(path, *found)
        self._resolved[path] = values
        return values

    @cached_property
    def _resolved(self) -> dict[tuple[str, ...], dict[str, Any]]:
        return {}

    def _resolve_inputs(self, path: tuple[str, ...], task: Spec, component: Spec, number: int | None) -> dict[str, Any]:
        own = path[:-1] if number is not None else path
        outer = own[:-1]
        values: dict[str, Any] = {}
        given = task.get("inputs", {})
        for name, source in given.get("parameters", {}).items():
            if (value := self._parameter(source, outer)) is not UNKNOWN:
                values[name] = value
        for name, source in given.get("artifacts", {}).items():
            if (value := self._artifact_input(source, outer)) is not UNKNOWN:
                values[name] = value
        if number is not None:
            values |= self._item(task, number, values, outer)
        facts = self._facts()
        values = {name: filled(value, values, facts) for name, value in values.items()}
        return _with_defaults(values, component, absent=given.get("parameters", {}).keys())

    def _parameter(self, source: Mapping[str, Any], outer: tuple[str, ...]) -> Any:
        if "runtimeValue" in source:
            value = source["runtimeValue"].get("constant", UNKNOWN)
        elif "componentInputParameter" in source:
            value = self._inherited(source["componentInputParameter"], outer)
        elif "taskOutputParameter" in source:
            source_task = source["taskOutputParameter"]
            value = self._output((*outer, source_task["producerTask"]), source_task["outputParameterKey"])
        elif "taskFinalStatus" in source:
            value = self._final_status((*outer, source["taskFinalStatus"]["producerTask"]))
        else:
            return UNKNOWN
        return selected(value, source.get("parameterExpressionSelector", ""))

    def _artifact_input(self, source: Mapping[str, Any], outer: tuple[str, ...]) -> Any:
        if "componentInputArtifact" in source:
            return self._inherited(source["componentInputArtifact"], outer)
        if "taskOutputArtifact" in source:
            source_task = source["taskOutputArtifact"]
            return self._output((*outer, source_task["producerTask"]), source_task["outputArtifactKey"])
        return UNKNOWN

    def _inherited(self, name: str, path: tuple[str, ...]) -> Any:
        """An input of the nearest group around it that has one of this name, as kfp.local looks them up."""
        for depth in range(len(path), -1, -1):
            if name in (values := self._inputs(path[:depth])):
                return values[name]
        return UNKNOWN

    def _item(self, task: Spec, number: int, values: Mapping[str, Any], outer: tuple[str, ...]) -> dict[str, Any]:
        """The item of one iteration, under the name that its tasks know it by."""
        iterator = task.get("parameterIterator") or task.get("artifactIterator") or {}
        source = iterator.get("items", {})
        if "raw" in source:
            items = json.loads(source["raw"])
        else:
            name = source.get("inputParameter") or source.get("inputArtifact", "")
            items = values[name] if name in values else self._inherited(name, outer)
        if isinstance(items, str):
            items = json.loads(items) if items.startswith("[") else []
        if items is UNKNOWN or not isinstance(items, list | tuple) or number >= len(items):
            return {}
        item = items[number]
        return {iterator.get("itemInput", ""): (item,) if isinstance(item, Artifact) else item}

    def _output(self, path: tuple[str, ...], name: str) -> Any:
        """An output of a task; of a loop, the list of its iterations'."""
        found = self._locate(path)
        if found is None:
            return UNKNOWN
        task, component, number = found
        if number is None and _iterates(task):
            each = [self._output(iteration, name) for iteration in self._iterations(path)]
            known = [value for value in each if value is not UNKNOWN]
            if known and all(isinstance(value, tuple) for value in known):
                return tuple(artifact for value in known for artifact in value)
            return known or UNKNOWN
        if "dag" in component:
            return self._group_output(path, component["dag"].get("outputs", {}), name)
        made = self._outputs.get(path, Values())
        return made.parameters.get(name, made.artifacts.get(name, UNKNOWN))

    def _group_output(self, path: tuple[str, ...], outputs: Spec, name: str) -> Any:
        chosen = outputs.get("parameters", {}).get(name, {})
        selectors = (
            outputs.get("artifacts", {}).get(name, {}).get("artifactSelectors")
            or chosen.get("valueFromOneof", {}).get("parameterSelectors")
            or [entry for entry in [chosen.get("valueFromParameter")] if entry]
        )
        for selector in selectors:
            key = selector.get("outputParameterKey") or selector.get("outputArtifactKey", "")
            if (value := self._output((*path, selector["producerSubtask"]), key)) is not UNKNOWN:
                return value
        return UNKNOWN

    def _final_status(self, path: tuple[str, ...]) -> Any:
        row = self._rows.get(path)
        if row is None or row["state"] in ("PENDING", "RUNNING"):
            return UNKNOWN
        return {"state": row["state"], "pipelineTaskName": path[-1], "error": {"message": row["error"]}}

    def _facts(self) -> dict[str, str]:
        """The placeholders for facts of the run, as runner.py and kfp_local_patches.py fill them."""
        return {
            "{{$.pipeline_job_uuid}}": self.id,
            "{{$.pipeline_task_uuid}}": self.id,
            "{{$.pipeline_job_resource_name}}": self.row["display_name"],
            "{{$.pipeline_job_create_time_utc}}": self.row["created_at"],
            "{{$.pipeline_job_schedule_time_utc}}": self.row["scheduled_at"],
        }


def _iterates(task: Spec) -> bool:
    return "parameterIterator" in task or "artifactIterator" in task


def _with_defaults(values: Mapping[str, Any], component: Spec, absent: Iterable[str] = ()) -> dict[str, Any]:
    """`values`, and the component's defaults for what is not in them; `absent` names come from elsewhere, later."""
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    defaults = {name: entry["defaultValue"] for name, entry in declared.items() if "defaultValue" in entry}
    return {**{name: value for name, value in defaults.items() if name not in absent}, **values}
