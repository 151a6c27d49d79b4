"""A run that is started without parameters: by Kubeflow's own schedule, or by somebody in its user interface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from retraining_loop import EventSink, event_sink, feedback_database

from common.mlflow.registry import ModelRegistry
from pipelines.bank import generate
from pipelines.bootstrap import bootstrap
from pipelines.registration.tracking import Tracking, tags_of
from pipelines.retraining.mix import DataError, Sizes
from pipelines.retraining.steps.collect import collect
from pipelines.retraining.steps.report import report

ROOT = Path(__file__).parents[2]
MODEL = "retraining-bare"
SIZES = Sizes(minimum=50, replay=20, current=30, old=20, recent=20)
STARTED, FINISHED = "dev.cdevents.pipelinerun.started.0.3.0", "dev.cdevents.pipelinerun.finished.0.3.0"


@dataclass
class Bare:
    environ: dict[str, str]
    sink: EventSink
    folder: Path

    @property
    def tracking(self) -> Tracking:
        return Tracking(self.environ, MODEL)

    def run(self, platform_run: str) -> dict[str, str]:
        names = ("run_key", "model", "champion", "reason", "traceparent", "drift_event")
        return {**dict.fromkeys(names, ""), "pipeline_run": platform_run}

    def collect(self, platform_run: str, sizes: Sizes = SIZES, until: float = 0.0) -> dict[str, str]:
        folders = (self.folder / platform_run / "train", self.folder / platform_run / "holdout")
        return collect(self.run(platform_run), 0.0, until, sizes, 0, *folders, environ=self.environ)[0]

    def report(self, platform_run: str, state: str) -> str:
        return report(self.run(platform_run), state, self.folder / "summary.md", self.environ)

    def record(self, platform_run: str) -> dict[str, Any]:
        return tags_of(self.tracking.find_attempt(platform_run))


@pytest.fixture(scope="module")
def bare(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    folder = tmp_path_factory.mktemp("bare")
    with event_sink() as sink:
        environ = {
            "MLFLOW_TRACKING_URI": mlflow_url,
            "MCQA_DATABASE_URL": feedback_database(folder, generate(5, 120, ("regex",)), since=1000.0),
            "MCQA_REGISTERED_MODEL": MODEL,
            "K_SINK": sink.url,
        }
        bootstrap(environ, str(ROOT / "models/tiny"))
        yield Bare(environ, sink, folder)


def test_the_run_finds_out_what_it_is_about(bare: Bare) -> None:
    found = bare.collect("job-1")
    assert (found["model"], found["champion"], found["registered"]) == (MODEL, "1", "")
    assert len(found["run_key"]) == 64
    assert found["reason"]
    assert found["traceparent"].startswith("00-")
    assert bare.record("job-1")["run_key"] == found["run_key"]
    [(attributes, started)] = bare.sink.of(STARTED)
    assert (started["subject"]["id"], attributes["traceparent"]) == (found["run_key"], found["traceparent"])


def test_the_same_data_is_the_same_retraining(bare: Bare) -> None:
    first = bare.collect("job-2")
    assert bare.collect("job-2") == first, "the step is tried again"
    assert bare.collect("job-3")["run_key"] == first["run_key"]
    assert bare.collect("job-4", until=1100.0)["run_key"] != first["run_key"], "of less feedback"


def test_the_end_is_told_of_the_run_that_began(bare: Bare) -> None:
    key = bare.collect("job-5")["run_key"]
    bare.sink.events.clear()
    assert bare.report("job-5", "FAILED") == "error"
    [(_, finished)] = bare.sink.of(FINISHED)
    assert finished["subject"]["id"] == key
    assert finished["customData"]["champion"] == "1"


def test_too_little_feedback_is_on_record(bare: Bare) -> None:
    with pytest.raises(DataError, match="at least 5000 needed"):
        bare.collect("job-6", Sizes(minimum=5000))
    bare.sink.events.clear()
    assert bare.report("job-6", "FAILED") == "error"
    assert "at least 5000 needed" in bare.record("job-6")["error"]
    [(_, finished)] = bare.sink.of(FINISHED)
    assert "at least 5000 needed" in finished["subject"]["content"]["errors"]


def test_what_broke_before_its_record_is_told_all_the_same(bare: Bare) -> None:
    bare.sink.events.clear()
    assert bare.report("job-7", "FAILED") == "error"
    [(_, finished)] = bare.sink.of(FINISHED)
    assert len(finished["subject"]["id"]) == 64


def test_a_model_without_a_champion_has_nothing_to_compare_with(bare: Bare) -> None:
    registry = ModelRegistry(bare.environ, MODEL)
    registry.delete_alias("champion")
    try:
        with pytest.raises(DataError, match="has no champion"):
            bare.collect("job-8")
    finally:
        registry.set_alias("champion", "1")
