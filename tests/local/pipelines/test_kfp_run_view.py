"""The neutral view of a run: what tasks were given, resolved from the spec and from other tasks' outputs."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from local.pipelines.run_view import RunView, Task

RUN = "5d9f8b4e-0000-0000-0000-000000000001"
_TASK = {"parameterType": "STRING"}


def _step(**inputs: Any) -> dict[str, Any]:
    return {"inputs": {"parameters": inputs}}


def _of(task: str, key: str = "Output") -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


def _from_group(name: str) -> dict[str, Any]:
    return {"componentInputParameter": name}


def _constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def _task(component: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"componentRef": {"name": component}, "inputs": {"parameters": parameters}, **more}


SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "cases"},
    "deploymentSpec": {"executors": {"exec-step": {"container": {}}, "exec-importer": {"importer": {}}}},
    "components": {
        "comp-step": {"executorLabel": "exec-step",
                      "inputDefinitions": {"parameters": {"more": {**_TASK, "defaultValue": "default"}}}},
        "comp-importer": {"executorLabel": "exec-importer"},
        "comp-branch": {"dag": {
            "tasks": {"step": _task("comp-step", {"text": _from_group("channel")})},
            "outputs": {"parameters": {"said": {"valueFromParameter": {
                "producerSubtask": "step", "outputParameterKey": "Output"}}},
                "artifacts": {"file": {"artifactSelectors": [
                    {"producerSubtask": "step", "outputArtifactKey": "data"}]}}},
        }},
        "comp-branches": {"dag": {
            "tasks": {
                "yes": _task("comp-branch", {"channel": _constant("y")}, triggerPolicy={"condition": "true"}),
                "no": _task("comp-branch", {"channel": _constant("n")}, triggerPolicy={"condition": "!true"}),
            },
            "outputs": {"parameters": {"one": {"valueFromOneof": {"parameterSelectors": [
                {"producerSubtask": "yes", "outputParameterKey": "said"},
                {"producerSubtask": "no", "outputParameterKey": "said"}]}}}},
        }},
        "comp-body": {"dag": {
            "tasks": {"step": _task("comp-step", {
                "text": _constant("{{$.inputs.parameters['item']}} of {{$.pipeline_job_uuid}}"),
                "item": _from_group("item"),
                "field": {**_from_group("item"), "parameterExpressionSelector": 'parseJson(string_value)["name"]'},
            })},
            "outputs": {"parameters": {"all": {"valueFromParameter": {
                "producerSubtask": "step", "outputParameterKey": "Output"}}},
                "artifacts": {"files": {"artifactSelectors": [
                    {"producerSubtask": "step", "outputArtifactKey": "data"}]}}},
        }},
    },
    "root": {
        "inputDefinitions": {"parameters": {"word": _TASK, "size": {"defaultValue": 3.0}}},
        "dag": {"tasks": {
            "branches": _task("comp-branches", {}),
            "loop": _task("comp-body", {}, parameterIterator={
                "itemInput": "item", "items": {"raw": '[{"name": "a"}, {"name": "b"}]'}}),
            "imported": _task("comp-importer", {"uri": _constant("s3://there")}),
            "last": {
                **_task("comp-step", {
                    "text": _from_group("word"), "size": _from_group("size"), "one": _of("branches", "one"),
                    "list": _of("loop", "all"), "status": {"taskFinalStatus": {"producerTask": "loop"}},
                    "later": _of("imported", "nothing yet"),
                }),
                "dependentTasks": ["branches", "loop"],
            },
        }},
    },
}  # fmt: skip
SPEC["root"]["dag"]["tasks"]["last"]["inputs"]["artifacts"] = {
    "files": {"taskOutputArtifact": {"producerTask": "loop", "outputArtifactKey": "files"}}
}

OUTPUTS: dict[str, Any] = {
    "branches": {}, "branches/yes": {}, "branches/yes/step": {"Output": "it is y"}, "branches/no": {},
    "branches/no/step": {},
    "loop": {}, "loop/loop-iteration-1": {}, "loop/loop-iteration-1/step": {"Output": "b!"},
    "loop/loop-iteration-0": {}, "loop/loop-iteration-0/step": {"Output": "a!"}, "imported": {}, "last": {},
}  # fmt: skip


@pytest.fixture
def view(tmp_path: Path) -> RunView:
    """A run whose loop's steps each left a file, added out of order, as parallel iterations are."""
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    run = {"id": RUN, "seq": 7, "spec": json.dumps(SPEC), "parameters": '{"word": "hello"}', "display_name": "Cases",
           "created_at": "2026-01-02T03:04:05.000000Z", "scheduled_at": "2026-01-02T03:04:05.000000Z"}  # fmt: skip
    rows = []
    for number, (path, outputs) in enumerate(OUTPUTS.items(), start=11):
        produced = dict(outputs)
        if path.startswith("loop/") and path.endswith("step"):
            file = tmp_path / "root" / path / "data"
            file.parent.mkdir(parents=True)
            file.write_text(path)
            produced["data"] = {
                "__kfp_artifact__": True, "schema_title": "system.Dataset", "name": "data", "uri": str(file),
                "metadata": {"rows": 1},
            }  # fmt: skip
        rows.append({
            "seq": number, "id": f"task-{path}", "run_id": RUN, "path": path, "name": path.rpartition("/")[2],
            "state": "SUCCEEDED", "created_at": "", "started_at": "", "finished_at": "", "error": "", "executions": 1,
            "outputs": json.dumps(produced),
        })  # fmt: skip
    return RunView(_row(database, run), [_row(database, row) for row in rows], tmp_path)


def _row(database: sqlite3.Connection, values: dict[str, Any]) -> sqlite3.Row:
    columns = ", ".join(f"? AS {name}" for name in values)
    row: sqlite3.Row = database.execute(f"SELECT {columns}", tuple(values.values())).fetchone()
    return row


def _at(view: RunView, path: str) -> Task:
    found = view.task(f"task-{path}")
    assert found is not None
    return found


def test_effective_parameters_are_those_given_and_the_defaults_of_the_rest(view: RunView) -> None:
    assert view.parameters == {"word": "hello", "size": 3.0}


@pytest.mark.parametrize(
    ("path", "kind", "parameters"),
    [
        ("branches", "group", {}),
        ("branches/yes", "condition", {"channel": "y"}),
        ("branches/no/step", "step", {"text": "n", "more": "default"}),
        ("loop", "loop", {}),
        ("loop/loop-iteration-1", "iteration", {"item": {"name": "b"}}),
        (
            "loop/loop-iteration-1/step",
            "step",
            {"text": f'{{"name": "b"}} of {RUN}', "item": {"name": "b"}, "field": "b", "more": "default"},
        ),
        ("imported", "importer", {"uri": "s3://there"}),
        (
            "last",
            "step",
            {
                "text": "hello",
                "size": 3.0,
                "one": "it is y",
                "list": ["a!", "b!"],
                "status": {"state": "SUCCEEDED", "pipelineTaskName": "loop", "error": {"message": ""}},
                "more": "default",
            },
        ),
    ],
)
def test_inputs_are_resolved(view: RunView, path: str, kind: str, parameters: dict[str, Any]) -> None:
    task = _at(view, path)

    assert task.kind == kind
    assert dict(task.inputs.parameters) == parameters


def test_artifacts_of_a_loop_come_in_the_order_of_its_items(view: RunView) -> None:
    given = _at(view, "last").inputs.artifacts["files"]

    assert [artifact.path for artifact in given] == [f"root/loop/loop-iteration-{n}/step/data" for n in (0, 1)]
    assert all(view.file(artifact).read_text() for artifact in given)
    assert [artifact.number for artifact in given] == [20 * 100_000, 18 * 100_000]


def test_iterations_are_numbered_and_have_their_loops_name(view: RunView) -> None:
    iteration = _at(view, "loop/loop-iteration-1")

    assert (iteration.key, iteration.iteration, iteration.parent_id) == ("loop", 1, "task-loop")
    assert _at(view, "loop").iterations == 2


def test_what_a_task_waits_for_is_named_by_id(view: RunView) -> None:
    assert _at(view, "last").needs == ("task-branches", "task-loop")


def test_a_file_outside_the_runs_folder_has_no_path(view: RunView, tmp_path: Path) -> None:
    outside = RunView(view.row, view._rows.values(), tmp_path / "root" / "loop" / "loop-iteration-0")

    assert [artifact.path for artifact in outside.artifacts] == ["", "step/data"]


def test_a_task_that_the_spec_does_not_have_is_shown_without_inputs(view: RunView, tmp_path: Path) -> None:
    spec = {**SPEC, "root": {"dag": {"tasks": {"branches": SPEC["root"]["dag"]["tasks"]["branches"]}}}}
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    row = _row(database, {**dict(view.row), "spec": json.dumps(spec)})

    task = RunView(row, view._rows.values(), tmp_path).task("task-last")

    assert task is not None
    assert dict(task.inputs.parameters) == {}
