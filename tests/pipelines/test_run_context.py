"""What steps hand on: one codec, checked where it is read, and tolerant of other versions of the pipeline."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.run_context import RunContext, RunContextError

RUN = RunContext("k" * 64, "coding-mcqa", "3", "drift; of: subjects", "00-a-b-01", "drift 1", "job-1", "4")


@given(st.builds(RunContext, *([st.text(min_size=1)] * 8)))
def test_it_survives_its_json_form(run: RunContext) -> None:
    assert RunContext.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_the_keys_are_those_that_compiled_pipelines_pass_on() -> None:
    assert list(RUN.to_dict()) == [
        *("run_key", "model", "champion", "reason", "traceparent", "drift_event", "pipeline_run", "registered")
    ]


def test_a_step_of_another_version_of_the_pipeline_is_understood() -> None:
    older = {name: value for name, value in asdict(RUN).items() if name not in ("registered", "drift_event")}
    assert RunContext.from_dict(older).registered == ""
    assert RunContext.from_dict(older).champion == "3"
    assert RunContext.from_dict({**asdict(RUN), "tenant": {"id": 7}}) == RUN


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "must be an object, found NoneType"),
        (["run_key"], "must be an object, found list"),
        ({**asdict(RUN), "champion": 3.0}, "champion must be a string, found 3.0"),
        ({**asdict(RUN), "reason": None}, "reason must be a string, found None"),
        ({**asdict(RUN), "run_key": ""}, "run_key is missing"),
        ({"run_key": "k", "pipeline_run": "job-1"}, "model is missing"),
        ({"run_key": "k", "model": "m"}, "pipeline_run is missing"),
    ],
)
def test_what_is_not_a_run_context_is_refused_by_name(data: Any, message: str) -> None:
    with pytest.raises(RunContextError, match=message) as refused:
        RunContext.from_dict(data)
    assert len(str(refused.value)) <= 200


def test_it_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        RUN.champion = "9"  # type: ignore[misc]


def test_only_what_is_missing_is_filled() -> None:
    run = RunContext(champion="3").filled({"champion": "9", "model": "m", "outcome": "error"})
    assert run == RunContext(champion="3", model="m")
