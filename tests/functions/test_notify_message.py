"""Events as messages: what happened, why, what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common import event_types
from functions.drift.decision import Evidence
from functions.events import BadEventError, Event
from functions.notify.delivery import targets
from functions.notify.message import Message, build

PRODUCTION = {"environment": {"id": "production"}, "artifactId": "pkg:mlflow/coding-mcqa@7"}


def message(type: str, data: Any, id: str = "1") -> Message | None:
    return build(Event(id, "/loop", type, data=json.dumps(data).encode()))


def cdevent(subject: str, content: dict[str, Any], **custom: Any) -> dict[str, Any]:
    return {"context": {"version": "0.5.0"}, "subject": {"id": subject, "content": content}, "customData": custom}


@pytest.mark.parametrize(
    ("type", "data", "level", "title", "why"),
    [
        (
            event_types.PIPELINERUN_STARTED,
            cdevent("run-1", {"pipelineName": "retrain", "uri": "http://kfp/1"}, reason="drift of version 6"),
            "info",
            "Retraining started: retrain run run-1",
            "drift of version 6",
        ),
        (
            event_types.PIPELINERUN_FINISHED,
            cdevent("run-1", {"outcome": "success"}),
            "success",
            "Retraining finished: run run-1, outcome success",
            "",
        ),
        (
            event_types.PIPELINERUN_FINISHED,
            cdevent("run-1", {"outcome": "error", "errors": "out of memory"}),
            "failure",
            "Retraining finished: run run-1, outcome error",
            "out of memory",
        ),
        (
            event_types.TESTSUITERUN_FINISHED,
            cdevent("run-1", {**PRODUCTION, "outcome": "success"}),
            "success",
            "Gate passed: run run-1, outcome success",
            "",
        ),
        (
            event_types.TESTSUITERUN_FINISHED,
            cdevent("run-1", {**PRODUCTION, "outcome": "failure", "reason": "inconclusive, n 400"}),
            "warning",
            "Gate did not pass: run run-1, outcome failure",
            "inconclusive, n 400",
        ),
        (
            event_types.ARTIFACT_PUBLISHED,
            cdevent("pkg:mlflow/coding-mcqa@7", {}),
            "info",
            "New version registered: pkg:mlflow/coding-mcqa@7",
            "",
        ),
        (
            event_types.SERVICE_UPGRADED,
            cdevent("coding-mcqa", PRODUCTION, reason="passed at 50 %"),
            "success",
            "Promoted: coding-mcqa now answers with pkg:mlflow/coding-mcqa@7",
            "passed at 50 %",
        ),
        (
            event_types.SERVICE_ROLLEDBACK,
            cdevent("coding-mcqa", PRODUCTION, reason="failures 0.080 against 0.001"),
            "failure",
            "Rolled back: coding-mcqa answers with pkg:mlflow/coding-mcqa@7 again",
            "failures 0.080 against 0.001",
        ),
        (
            event_types.INCIDENT_DETECTED,
            cdevent("i-1", {**PRODUCTION, "service": {"id": "coding-mcqa"}, "description": "too many\n failures"}),
            "failure",
            "Incident: coding-mcqa pkg:mlflow/coding-mcqa@7",
            "too many failures",
        ),
    ],
)
def test_each_event_has_its_message(type: str, data: Any, level: str, title: str, why: str) -> None:
    notice = message(type, data)
    assert notice is not None
    assert (notice.level, notice.title, notice.why) == (level, title, why)
    lines = notice.body.splitlines()
    assert any(line.startswith("What to do: ") for line in lines)
    assert (f"Why: {why}" in lines) is bool(why)
    assert ("Link: http://kfp/1" in lines) is ("uri" in data["subject"]["content"])


def test_drift_names_what_changed_and_by_how_much() -> None:
    changed = Evidence("entropy", "ks", 900, 1000, 0.2, 1e-7, 6e-7, 0.31, 0.1, True)
    same = Evidence("margin", "ks", 900, 1000, 0.01, 0.5, 0.5, 0.01, 0.1, False)
    data = {"version": "6", "reason": "2 windows in a row", "window_start": 1.0, "window_end": 2.0}
    evidence = [{name: getattr(e, name) for name in e.__dataclass_fields__} for e in (changed, same)]
    notice = message(event_types.DRIFT_DETECTED, {**data, "evidence": evidence})
    assert notice is not None
    assert notice.title == "Drift: answers of champion version 6 no longer look like its reference"
    assert notice.why == ("2 windows in a row Changed: entropy (effect 0.31, floor 0.1, adjusted p 6e-07, n 900).")


@pytest.mark.parametrize(
    "type",
    [
        event_types.PIPELINERUN_QUEUED,
        event_types.SERVICE_DEPLOYED,
        event_types.DRIFT_CHECKED,
        "dev.cdevents.change.merged.0.3.0",
    ],
)
def test_what_nobody_needs_to_know_has_none(type: str) -> None:
    assert message(type, {}) is None


def test_the_key_is_of_the_content_not_of_the_event() -> None:
    run = cdevent("run-1", {"outcome": "success"})
    keys = {
        message(type, data, id).key  # type: ignore[union-attr]
        for id, type, data in [
            ("1", event_types.PIPELINERUN_FINISHED, run),
            ("2", event_types.PIPELINERUN_FINISHED, run),
            ("3", event_types.PIPELINERUN_FINISHED, cdevent("run-1", {"outcome": "error"})),
            ("4", event_types.PIPELINERUN_FINISHED, cdevent("run-2", {"outcome": "success"})),
            ("5", event_types.TESTSUITERUN_FINISHED, run),
        ]
    }
    assert len(keys) == 4


@pytest.mark.parametrize("data", [[], 5, {}, {"subject": []}, {"subject": {"id": ""}}, {"subject": {"id": {}}}])
def test_what_is_no_cdevent_is_refused(data: Any) -> None:
    with pytest.raises(BadEventError):
        message(event_types.SERVICE_UPGRADED, data)


@pytest.mark.parametrize(
    "data", [{}, {"evidence": 5}, {"evidence": [5, {"rejected": True}]}, {"version": [1], "reason": {}}]
)
def test_odd_drift_still_says_something(data: Any) -> None:
    notice = message(event_types.DRIFT_DETECTED, data)
    assert notice is not None
    assert "version unknown" in notice.title


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("", []),
        (" \n", []),
        ("json://h/", ["json://h/"]),
        ("json://a/,json://b/ \n xml://c/", ["json://a/", "json://b/", "xml://c/"]),
        ("mailto://u:p@h.example?to=a@x.example,b@x.example", ["mailto://u:p@h.example?to=a@x.example,b@x.example"]),
    ],
)
def test_targets(value: str, urls: list[str]) -> None:
    assert targets({"MCQA_NOTIFY_URLS": value}) == urls


def test_a_bad_target_is_named_without_its_secret() -> None:
    with pytest.raises(ValueError, match=r"entry 1 \(what://…\)") as caught:
        targets({"MCQA_NOTIFY_URLS": "json://h/ what://secret"})
    assert "secret" not in str(caught.value)
