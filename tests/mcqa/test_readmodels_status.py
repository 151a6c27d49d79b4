"""What `mcqa status` makes of the reports that it collects."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mcqa.readmodels import status

FAULT = {"part": "broker", "path": "/loop/broker.db", "since": 0.0, "message": "no space left on device"}


def test_a_fault_of_the_disk_is_reported_once_as_it_was_first_seen() -> None:
    later = {**FAULT, "since": 9.0, "message": "later"}
    other = {**FAULT, "part": "mlflow", "since": 5.0}
    assert status._storage([later], [FAULT], [other]) == [FAULT, other]
    assert status._cannot_write(FAULT).startswith("broker: cannot write /loop/broker.db since ")


def test_parts_that_are_not_ready_and_steps_that_are_not_done_are_problems() -> None:
    supervisor = {
        "parts": [
            {"name": "broker", "state": "ready", "message": ""},
            {"name": "mlflow", "state": "starting", "message": ""},
        ],
        "steps": [
            {"name": "manifests", "state": "done", "detail": "23 objects"},
            {"name": "model", "state": "failed", "detail": "no such folder"},
            {"name": "pipeline", "state": "running", "detail": ""},
        ],
    }
    assert status._unready(supervisor) == ["mlflow: starting", "model: no such folder", "pipeline: running"]


def test_the_page_may_start_when_everything_else_is_up() -> None:
    page = {"name": "ui", "state": "starting", "message": "", "restarts": 0}
    assert status._unready({"ready": True, "parts": [page]}) == []
    assert status._unready({"ready": False, "parts": [page]}) == ["ui: starting"]
    again = {**page, "restarts": 1, "state": "failed", "message": "exited: x"}
    assert status._unready({"ready": True, "parts": [again]}) == ["ui: failed exited: x"]


def test_events_that_nobody_took_are_counted_by_trigger() -> None:
    triggers = [
        {"trigger": "collect", "dead": 1, "dead_lettering": 0},
        {"trigger": "drift", "dead": 0, "dead_lettering": 0},
        {"trigger": "notify", "dead": 1, "dead_lettering": 2},
    ]
    assert status._undelivered({"triggers": triggers}) == [
        "collect: 1 dead letter at the broker, see `mcqa dead-letters list`",
        "notify: 3 dead letters at the broker, see `mcqa dead-letters list`",
    ]
    assert status._undelivered({}) == []


def service(name: str, **status: Any) -> Any:
    spec = {"predictor": {"model": {"storageUri": "mlflow://coding-mcqa/7"}}}
    return SimpleNamespace(metadata=SimpleNamespace(name=name), spec=spec, status=status)


def test_a_service_has_its_own_revisions_and_traffic() -> None:
    revisions = [{"revision": f"{name}-00001", "pids": [1]} for name in ("m-predictor", "m", "other-predictor")]
    traffic = [{"revisionName": "m-predictor-00001", "percent": 90}, {"revisionName": "m-predictor-00002", "tag": "t"}]
    item = service(
        "m",
        components={"predictor": {"traffic": traffic}},
        conditions=[{"type": "Ready", "status": "True", "message": ""}],
    )
    facts = status._service(item, "model", {"revisions": revisions})
    assert (facts["ready"], facts["version"]) == (True, "mlflow://coding-mcqa/7")
    assert facts["revisions"] == [revisions[0]]
    assert facts["traffic"] == [
        {"revision": "m-predictor-00001", "percent": 90, "tag": None},
        {"revision": "m-predictor-00002", "percent": 0, "tag": "t"},
    ]
    function = status._service(service("m"), "function", {"revisions": revisions})
    assert (function["ready"], function["message"], function["version"]) == (False, "not ready yet", None)
    assert function["revisions"] == [revisions[1]]


def test_what_one_part_raises_is_a_problem_of_that_part() -> None:
    inquiry = status._Inquiry()
    assert inquiry.ask("broker", lambda: 3) == 3
    assert inquiry.ask("API", lambda: [][0]) is None
    assert inquiry.problems == ["API: list index out of range"]
