"""Runs of the pipeline and the requests that they belong to: the pure parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from common.mlflow.runs import STEP_TAG, Run
from functions.retrain.store import run_name
from mcqa.readmodels import pipeline_results, pipeline_runs
from mcqa.readmodels.pipeline_requests import of_runs, without_run
from mcqa.readmodels.pipeline_runs import steps

KEY = "0123456789abcdef" * 4
NAME = run_name(KEY)


def row(**values: Any) -> Any:
    """A stored request."""
    known = {
        "key": KEY, "state": "succeeded", "reason_code": "version-registered", "initiated_by": "drift",
        "reason": "it drifted", "attempt": 1, "version": None, "error": "", "created_at": 1.0, "run_id": "a",
        "posted_at": 2.0,
    }  # fmt: skip
    return SimpleNamespace(**{**known, **values})


def runs(*ids: str, name: str = NAME) -> list[dict[str, Any]]:
    """As the server lists them, the newest first; `ids` are from the oldest on."""
    made = [
        {"run_id": each, "display_name": name, "created_at": f"2026-11-30T10:0{place}:00Z"}
        for place, each in enumerate(ids)
    ]
    return made[::-1]


@pytest.mark.parametrize(
    ("stored", "listed", "expected"),
    [
        # run id: attempt, whether it was replaced, what it registered
        (row(version="3"), runs("a"), {"a": (1, False, "3")}),
        (row(run_id="b", attempt=2, version="3"), runs("a", "b"), {"a": (1, True, None), "b": (2, False, "3")}),
        (row(run_id="b", attempt=2), runs("b"), {"b": (2, False, None)}),
        (row(run_id="c", attempt=3), runs("b", "c"), {"b": (2, True, None), "c": (3, False, None)}),
        # The second attempt is counted, and has no run yet; then a run whose id is not stored yet.
        (row(state="starting", attempt=2, posted_at=None), runs("a"), {"a": (1, True, None)}),
        (row(state="starting", attempt=2), runs("a", "b"), {"a": (1, True, None), "b": (2, False, None)}),
        (row(state="starting", attempt=1, run_id=None), runs("a"), {"a": (1, False, None)}),
        # The server refused the second one.
        (row(state="failed", reason_code="run-refused", attempt=2), runs("a"), {"a": (1, False, None)}),
        (row(), runs("x", name="somebody's"), {}),
        (row(state="waiting", attempt=0, run_id=None), [], {}),
    ],
)
def test_which_run_is_of_which_request(
    stored: Any, listed: list[dict[str, Any]], expected: dict[str, tuple[int, bool, str | None]]
) -> None:
    found = of_runs([stored], listed)
    assert {key: (each["attempt"], each["replaced"], each["version"]) for key, each in found.items()} == expected


def test_a_run_that_was_given_another_name_is_known_by_its_id() -> None:
    assert of_runs([row()], runs("a", name="renamed"))["a"]["reason"] == "it drifted"


def test_requests_that_have_no_run() -> None:
    rows = [
        row(key="1", state="waiting", run_id=None, attempt=0),
        row(key="2", state="void", run_id=None, error="superseded"),
        row(key="3", state="failed", run_id=None, error="refused"),
        row(key="4", state="starting", run_id="a", attempt=2),
        row(key="5", state="running"),
        row(key="6", state="failed"),
    ]
    assert [each["key"] for each in without_run(rows)] == ["1", "2", "3", "4"]
    assert len(without_run([row(run_id=None)] * 50)) == 10


class Server:
    """Counts what it is asked; its run says why it failed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, run_id: str) -> dict[str, Any]:
        self.asked.append(run_id)
        return {"run_id": run_id, "state": "FAILED", "error": {"message": "lost\n the node"}}


def test_a_failed_run_is_asked_for_once_until_it_fails_again() -> None:
    server = Server()
    pipeline_runs._errors.clear()

    def error(**values: Any) -> str:
        run = {"run_id": "a", "state": "FAILED", "finished_at": "2026-11-30T10:00:00Z", **values}
        return pipeline_runs._error(cast("Any", server), "http://kfp", run)

    assert [error(), error()] == ["lost the node"] * 2
    assert server.asked == ["a"]
    assert error(finished_at="2026-11-30T11:00:00Z") == "lost the node"
    assert server.asked == ["a", "a"], "it was retried"
    assert error(error={"message": "known"}) == "known"
    assert error(state="SUCCEEDED") == ""
    assert error(state="RUNNING") == ""
    assert server.asked == ["a", "a"]


def test_metrics_in_the_order_of_the_steps() -> None:
    made = [
        Run("1", "e", "evaluate", "FINISHED", 1.0, 2.0, tags={STEP_TAG: "evaluate"}, metrics={"b": 2.0, "a": 1.0}),
        Run("2", "e", "gate", "FINISHED", 3.0, 4.0, tags={STEP_TAG: "gate"}),
    ]
    found = pipeline_results.metrics(made)
    assert [(each["step"], each["name"], each["value"]) for each in found] == [
        ("evaluate", "a", 1.0),
        ("evaluate", "b", 2.0),
    ]


def test_an_artifact_with_its_address() -> None:
    entry = {"task": "measure", "name": "page", "type": "system.HTML", "size": 7, "path": "x", "url": "/runs/r/files/x"}
    environ = {"KFP_ENDPOINT": "http://user:secret@kfp:8888/"}
    found = pipeline_results._produced(environ, entry)
    assert (found["page"], found["size"]) == ("http://kfp:8888/runs/r/files/x", 7)
    found = pipeline_results._produced(environ, {"task": "t", "name": "scores", "type": "system.Metrics", "size": 0})
    assert (found["page"], found["size"]) == ("", None)


def test_steps_of_kubeflows_own_answer() -> None:
    """Argo's tasks: groups around the steps, drivers, retries, and 1970 for what has not happened."""
    tasks = [
        {"task_id": "a", "display_name": "coding-mcqa-x", "state": "RUNNING", "start_time": "2026-11-30T10:00:00Z"},
        {"task_id": "d", "display_name": "root", "parent_task_id": "a", "start_time": "2026-11-30T10:00:01Z"},
        {
            "task_id": "s1", "display_name": "train(1)", "parent_task_id": "d", "state": "RUNNING",
            "start_time": "2026-11-30T10:00:09Z", "end_time": "1970-01-01T00:00:00Z",
        },
        {
            "task_id": "s0", "display_name": "train(0)", "parent_task_id": "d", "state": "FAILED",
            "start_time": "2026-11-30T10:00:02Z", "end_time": "2026-11-30T10:00:07Z",
            "error": {"code": 1, "message": "lost\n the node"},
        },
        {"task_id": "s2", "display_name": "evaluate", "parent_task_id": "d"},
    ]  # fmt: skip
    found = steps({"run_details": {"task_details": tasks}})
    assert [(each["name"], each["attempt"], each["state"]) for each in found] == [
        ("coding-mcqa-x", None, "RUNNING"),
        ("train", 0, "FAILED"),
        ("train", 1, "RUNNING"),
        ("evaluate", None, "PENDING"),
    ]
    assert found[1]["error"] == "lost the node"
    assert found[2]["ended_at"] is None
    assert [each["depth"] for each in found] == [0, 2, 2, 2]
