"""The compiled pipeline, run by Kubeflow's own local runner against a real MLflow server, a database and a sink.

A guarded step that is silently skipped would leave the run a success: the tests look at what the steps did.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kfp import components, local
from retraining_loop import EventSink, event_sink, feedback_database

from common.gate_tag import GateTag
from common.mlflow.registry import ModelRegistry
from functions.drift.reference import parse
from mcqa.readmodels import comparison, evaluations, versions
from pipelines.bank import generate
from pipelines.bootstrap import bootstrap
from pipelines.registration.tracking import Tracking, tags_of
from pipelines.retraining.__main__ import main
from predictor.calibration import Calibration
from predictor.storage.resolver import resolve

# What the local runner says of every step: it has no image and no limits, which are a cluster's.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Task .* have no effect in the current local runner:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* a task that uses custom or non-Python base image:RuntimeWarning"),
]

ROOT = Path(__file__).parents[2]
MODEL = "retraining-test"
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
# Enough for the one subject that the shipped model has never seen and learns quickest.
LEARNS = {
    "fine_tune_steps": 40,
    "fine_tune_seconds": 0.0,
    "learning_rate": 0.004,
    "replay_share": 0.1,
    "blend": 1.0,
    "timed_questions": 10,
    "data": {"current": 200, "old": 40, "replay": 40, "recent": 100},
    "gate": {
        "min_questions": 50,
        "old_margin": "off",
        "ece_margin": "off",
        "letter_margin": "off",
        "latency_factor": "off",
    },
}
# Nothing is learned in a step of no size: the gate cannot pass it.
LEARNS_NOTHING = {**LEARNS, "fine_tune_steps": 1, "learning_rate": 1e-9}


@dataclass
class Loop:
    """What the pipeline is run against."""

    environ: dict[str, str]
    sink: EventSink
    compiled: Path

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.environ, MODEL)

    @property
    def tracking(self) -> Tracking:
        return Tracking(self.environ, MODEL)

    def run(self, run_key: str, **parameters: Any) -> None:
        pipeline = components.load_component_from_file(str(self.compiled))
        self.sink.events.clear()
        pipeline(
            run_key=run_key,
            model_name=MODEL,
            champion="1",
            since=0.0,
            until=10_000.0,
            reason="the mix of subjects has changed",
            traceparent=TRACE,
            drift_event="drift 1",
            **parameters,
        )


@pytest.fixture(scope="module")
def loop(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("retraining")
    compiled = folder / "pipeline.yaml"
    assert main(["compile", str(compiled)]) == 0
    questions = generate(5, 260, ("regex",)) + generate(6, 20, ("complexity",))
    with event_sink() as sink, pytest.MonkeyPatch.context() as patch:
        environ = {
            "MLFLOW_TRACKING_URI": mlflow_url,
            "MCQA_DATABASE_URL": feedback_database(folder, questions, since=1000.0),
            "MCQA_REGISTERED_MODEL": MODEL,
            "K_SINK": sink.url,
            "MCQA_CACHE": str(folder / "cache"),
            "OMP_WAIT_POLICY": "passive",
            "MCQA_COMMIT": "abc123",
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        }
        for name, value in environ.items():
            patch.setenv(name, value)
        bootstrap(environ, str(ROOT / "models/tiny"))
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"), raise_on_error=False)
        yield Loop(environ, sink, compiled)


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(scope="module")
def passed(loop: Loop) -> str:
    """The version that a run whose gate passed has registered."""
    loop.run(key("passes"), **LEARNS)
    version = loop.registry.versions()[0]
    assert version.tags.get("run_key") == key("passes"), loop.sink.events[-1]
    return version.version


def test_a_pass_registers_a_version_that_serves(loop: Loop, passed: str) -> None:
    """Everything that dsl.If guards has run."""
    model = loop.registry.model()
    assert model is not None
    assert model.aliases == {"champion": "1", "challenger": passed}
    folder = resolve(f"mlflow://{MODEL}/{passed}")
    reference = parse((folder / "reference.json").read_bytes())
    assert reference.n >= 50
    assert set(reference.features) == {"confidence", "entropy", "margin", "prompt_tokens", "letter_mass"}
    Calibration.read(folder)
    from predictor.scorer import Scorer

    scorer = Scorer.load(folder)
    questions = generate(99, 60, ("regex",), split="holdout")
    right = sum(
        a.index == q.answer
        for a, q in zip(scorer.score([scorer.encode(q.question) for q in questions]), questions, strict=True)
    )
    assert right > 0.3 * len(questions), "the champion has about a fifth"


def test_the_version_carries_its_lineage(loop: Loop, passed: str) -> None:
    version = loop.registry.version(passed)
    assert version is not None
    tags = dict(version.tags)
    assert tags.pop("pipeline_run")
    gate = GateTag.decode(tags.pop("gate"))
    assert gate is not None
    assert gate.verdict == "pass"
    assert gate.reason.startswith("improvement: ")
    assert len(tags.pop("data_digest")) == 64
    assert "regex" in tags.pop("subjects").split(",")
    assert tags == {
        "run_key": key("passes"),
        "drift_event": "drift 1",
        "champion": "1",
        "traceparent": TRACE,
        "reason": "the mix of subjects has changed",
        "commit": "abc123",
        "offered": "as challenger of version 1",
    }
    run = loop.tracking.find_run(key("passes"), "register")
    assert run is not None
    assert version.run_id == run["info"]["run_id"]


def test_every_step_has_a_finished_run_below_the_pipelines(loop: Loop, passed: str) -> None:
    parent = loop.tracking.find_run(key("passes"), "pipeline")
    assert parent is not None
    assert parent["info"]["status"] == "FINISHED"
    assert tags_of(parent)["outcome"] == "success"
    assert tags_of(parent)["version"] == passed
    for step in ("collect-data", "fine-tune", "evaluate", "gate", "reference", "register"):
        run = loop.tracking.find_run(key("passes"), step)
        assert run is not None, step
        assert run["info"]["status"] == "FINISHED"
        assert tags_of(run)["mlflow.parentRunId"] == parent["info"]["run_id"]
    evaluated = loop.tracking.find_run(key("passes"), "evaluate")
    assert evaluated is not None
    metrics = {m["key"]: m["value"] for m in evaluated["data"]["metrics"]}
    assert metrics["challenger_current_accuracy"] > metrics["champion_current_accuracy"]


def test_what_was_measured_is_read_from_the_registry_alone(loop: Loop, passed: str) -> None:
    """By the page Versions and `mcqa versions`: the figures, and each question with both versions' answers."""
    facts = evaluations.read(loop.environ, passed)
    assert facts is not None
    assert (facts["source"], facts["against"]) == ("challenger", "1")
    current, old = facts["mixes"]
    evaluated = loop.tracking.find_run(key("passes"), "evaluate")
    assert evaluated is not None
    metrics = {m["key"]: m["value"] for m in evaluated["data"]["metrics"]}
    assert current["accuracy"]["value"] == pytest.approx(metrics["challenger_current_accuracy"])
    assert old["accuracy"]["value"] == pytest.approx(metrics["challenger_old_accuracy"])
    compared = comparison.read(loop.environ, passed, "1")
    assert compared["source"] == "evaluation"
    assert compared["questions"] == metrics["current_questions"] + metrics["old_questions"]
    record = versions.record(loop.environ, key("passes"))
    assert [step["name"] for step in record["steps"]][:4] == ["collect-data", "fine-tune", "evaluate", "gate"]
    [numbers] = [check["numbers"] for check in record["checks"] or () if check["name"] == "improvement"]
    outcomes = [item["outcome"] for item in compared["items"] if item["mix"] == "current"]
    assert (outcomes.count("only-version"), outcomes.count("only-against")) == (numbers["gained"], numbers["lost"])


def test_a_second_run_of_the_same_key_registers_nothing_new(loop: Loop, passed: str) -> None:
    """As after a kill: what was decided stands, even where this time nothing would be learned."""
    before = [v.version for v in loop.registry.versions()]
    loop.registry.delete_alias("challenger")  # the rollout may have decided meanwhile
    loop.run(key("passes"), **LEARNS_NOTHING)
    assert [v.version for v in loop.registry.versions()] == before
    model = loop.registry.model()
    assert model is not None
    assert "challenger" not in model.aliases, "offered once"
    assert [e[1]["subject"]["id"] for e in loop.sink.of("dev.cdevents.artifact.published.0.3.0")] == [
        f"pkg:mlflow/{MODEL}@{passed}"
    ]


def test_a_fail_registers_nothing_and_says_so(loop: Loop, passed: str) -> None:
    before = [v.version for v in loop.registry.versions()]
    aliases = loop.registry.model()
    loop.run(key("fails"), **LEARNS_NOTHING)
    assert [v.version for v in loop.registry.versions()] == before
    assert loop.registry.model() == aliases
    for step in ("reference", "register"):
        assert loop.tracking.find_run(key("fails"), step) is None
    types = [attributes["type"].split(".")[2:4] for attributes, _ in loop.sink.events]
    assert types == [["pipelinerun", "started"], ["testsuiterun", "finished"], ["pipelinerun", "finished"]]
    assert all(attributes["traceparent"] == TRACE for attributes, _ in loop.sink.events)
    [(_, gated)] = loop.sink.of("dev.cdevents.testsuiterun.finished.0.3.0")
    assert gated["subject"]["content"]["outcome"] == "failure"
    decision = gated["customData"]
    assert decision["verdict"] in ("fail", "inconclusive")
    assert decision["reason_code"] == {"fail": "gate-failed", "inconclusive": "gate-inconclusive"}[decision["verdict"]]
    assert decision["initiated_by"] == "quality-gate"
    improvement, *_ = decision["checks"]
    assert (improvement["name"], improvement["verdict"]) == ("improvement", decision["verdict"])
    assert improvement["code"] in ("improvement-excluded", "improvement-not-proven")
    assert "improvement" in gated["subject"]["content"]["reason"]
    [(_, ended)] = loop.sink.of("dev.cdevents.pipelinerun.finished.0.3.0")
    assert ended["subject"]["content"]["outcome"] == "failure"
    parent = loop.tracking.find_run(key("fails"), "pipeline")
    assert tags_of(parent)["outcome"] == "failure"


def test_too_little_feedback_ends_as_an_error_that_says_how_much_it_takes(loop: Loop) -> None:
    loop.run(key("breaks"), **{**LEARNS, "data": {"minimum": 5000}})
    [(_, ended)] = loop.sink.of("dev.cdevents.pipelinerun.finished.0.3.0")
    assert ended["subject"]["content"]["outcome"] == "error"
    assert "at least 5000 needed" in json.dumps(ended["subject"]["content"]["errors"])
    assert loop.tracking.find_run(key("breaks"), "fine-tune") is None
