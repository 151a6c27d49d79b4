"""A run that is started without parameters, by somebody in Kubeflow's user interface or by its own schedule."""

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
from pipelines.retraining.dataset import DataError, DatasetSizes
from pipelines.retraining.steps.collect_data import collect_data
from pipelines.retraining.steps.report import report
from pipelines.run_context import RunContext

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).parents[2]
MODEL = "retraining-bare"
SIZES = DatasetSizes(minimum=50, replay=20, current=30, old=20, recent=20)
STARTED, FINISHED = "dev.cdevents.pipelinerun.started.0.3.0", "dev.cdevents.pipelinerun.finished.0.3.0"


@dataclass
class Loop:
    """What the first and the last step of such runs meet."""

    environ: dict[str, str]
    sink: EventSink
    folder: Path

    @property
    def tracking(self) -> Tracking:
        return Tracking(self.environ, MODEL)

    def collect(self, platform_run: str, sizes: DatasetSizes = SIZES, until: float = 0.0) -> RunContext:
        folders = (self.folder / platform_run / "train", self.folder / platform_run / "holdout")
        run = RunContext(pipeline_run=platform_run)
        return collect_data(run, 0.0, until, sizes, 0, *folders, environ=self.environ)[0]

    def report(self, platform_run: str, state: str) -> str:
        return report(RunContext(pipeline_run=platform_run), state, self.folder / "summary.md", self.environ)

    def record(self, platform_run: str) -> dict[str, Any]:
        return tags_of(self.tracking.find_attempt(platform_run))


@pytest.fixture(scope="module")
def loop(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("bare")
    with event_sink() as sink:
        environ = {
            "MLFLOW_TRACKING_URI": mlflow_url,
            "MCQA_DATABASE_URL": feedback_database(folder, generate(5, 120, ("regex",)), since=1000.0),
            "MCQA_REGISTERED_MODEL": MODEL,
            "K_SINK": sink.url,
        }
        bootstrap(environ, str(ROOT / "models/tiny"))
        yield Loop(environ, sink, folder)


def test_the_run_finds_out_what_it_is_about(loop: Loop) -> None:
    run = loop.collect("job-1")
    assert (run.model, run.champion, run.registered) == (MODEL, "1", "")
    assert len(run.run_key) == 64
    assert run.reason
    assert run.traceparent.startswith("00-")
    assert loop.record("job-1")["run_key"] == run.run_key
    [(attributes, started)] = loop.sink.of(STARTED)
    assert (started["subject"]["id"], attributes["traceparent"]) == (run.run_key, run.traceparent)


def test_the_same_data_is_the_same_retraining(loop: Loop) -> None:
    first = loop.collect("job-2")
    assert loop.collect("job-2") == first, "the step is tried again"
    assert loop.collect("job-3").run_key == first.run_key
    assert loop.collect("job-4", until=1100.0).run_key != first.run_key, "of less feedback"


def test_the_end_is_told_of_the_run_that_began(loop: Loop) -> None:
    key = loop.collect("job-5").run_key
    loop.sink.events.clear()
    assert loop.report("job-5", "FAILED") == "error"
    [(_, finished)] = loop.sink.of(FINISHED)
    assert finished["subject"]["id"] == key
    assert finished["customData"]["champion"] == "1"


def test_too_little_feedback_is_on_record(loop: Loop) -> None:
    with pytest.raises(DataError, match="at least 5000 needed"):
        loop.collect("job-6", DatasetSizes(minimum=5000))
    loop.sink.events.clear()
    assert loop.report("job-6", "FAILED") == "error"
    assert "at least 5000 needed" in loop.record("job-6")["error"]
    [(_, finished)] = loop.sink.of(FINISHED)
    assert "at least 5000 needed" in finished["subject"]["content"]["errors"]


def test_what_broke_before_its_record_is_told_all_the_same(loop: Loop) -> None:
    loop.sink.events.clear()
    assert loop.report("job-7", "FAILED") == "error"
    [(_, finished)] = loop.sink.of(FINISHED)
    assert len(finished["subject"]["id"]) == 64


def test_a_model_without_a_champion_has_nothing_to_compare_with(loop: Loop) -> None:
    registry = ModelRegistry(loop.environ, MODEL)
    registry.delete_alias("champion")
    try:
        with pytest.raises(DataError, match="has no champion"):
            loop.collect("job-8")
    finally:
        registry.set_alias("champion", "1")
