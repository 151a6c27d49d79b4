"""The rollout's reconciler with a real MLflow server, a real API server with real serving, and a real database."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rollout_loop import NAMESPACE, Cluster, Model, SinkServer, broken, cluster, traffic, until
from sqlalchemy import Engine

from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry
from functions.database import engine, transaction
from functions.events import Event
from functions.migrate import migrate
from functions.notify.message import build
from functions.rollout import overrides, store
from functions.rollout.actions import Decision, Hold, Wait
from functions.rollout.inference_service import InferenceServiceClient
from functions.rollout.reconcile import Dependencies, reconcile
from functions.rollout.settings import read_settings
from functions.rollout.state import Override, StepRecord
from functions.sink import Sink

pytestmark = pytest.mark.usefixtures("processes")

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("rollout")) as made:
        yield made


@dataclass
class Loop:
    """One registered model with its InferenceService, and what a look works with."""

    cluster: Cluster
    model: Model
    engine: Engine
    sink: SinkServer
    deps: Dependencies
    fed: StepRecord | None = None

    @property
    def name(self) -> str:
        return self.model.name

    def reconcile(self) -> Decision:
        return reconcile(self.deps, None)

    def feed(self, **kinds: tuple[str, ...]) -> None:
        """Traffic for the step that has just begun, once."""
        with transaction(self.engine) as connection:
            record = store.read_record(connection, self.name)
        step = record.steps[-1] if record else None
        if record is None or step is None or step.percent == 0 or step == self.fed:
            return
        self.fed = step
        mine = 450
        counts = {record.challenger: mine, record.champion: mine * (100 - step.percent) // step.percent}
        traffic(self.engine, counts, step.since, **kinds)

    def run(self, done: Callable[[Decision], bool], looks: int = 60, **kinds: tuple[str, ...]) -> Decision:
        """Looks, with traffic, until `done(decision)`."""
        for _ in range(looks):
            if done(decision := self.reconcile()):
                return decision
            self.feed(**kinds)
        raise AssertionError(f"not done after {looks} looks: {decision}")

    def override(self, action: str, challenger: str) -> None:
        with transaction(self.engine) as connection:
            overrides.write(connection, self.name, Override(action, challenger, at=1.0))  # type: ignore[arg-type]

    def made_champion(self, version: str) -> tuple[str, str]:
        """The reason of what made it champion, and who decided it."""
        with transaction(self.engine) as connection:
            found = store.serving_since(connection, self.name, version)
        assert found is not None
        return found[1]["reason_code"], found[1]["initiated_by"]

    def log(self) -> list[Mapping[str, Any]]:
        with transaction(self.engine) as connection:
            return list(reversed(store.decisions(connection, self.name, 200)))


@pytest.fixture
def loop(
    platform: Cluster, mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: None
) -> Iterator[Loop]:
    """Version 1 is champion and serves, 2 and 3 are registered."""
    monkeypatch.setenv("KUBECONFIG", str(platform.kubeconfig))
    name = f"rollout-{os.getpid()}-{next(NUMBERS)}"
    model = Model(mlflow_url, name)
    model.create(1)
    model.add(traceparent=TRACE)
    model.add()
    model.alias("champion", "1")
    platform.deploy(name, name, "1")
    database = engine(f"sqlite:///{tmp_path}/loop.db")
    migrate(database)
    sink = SinkServer()
    settings = read_settings(
        {
            "MCQA_REGISTERED_MODEL": name,
            "MCQA_INFERENCE_SERVICE": name,
            "MCQA_NAMESPACE": NAMESPACE,
            "MCQA_ROLLOUT_MIN_SECONDS": "0",
            "MCQA_ROLLOUT_DEADLINE_SECONDS": "0.1",
        }
    )
    registry = ModelRegistry({"MLFLOW_TRACKING_URI": mlflow_url}, name)
    deps = Dependencies(
        settings, database, registry, InferenceServiceClient(NAMESPACE, name, name), Sink({"K_SINK": sink.url})
    )
    yield Loop(platform, model, database, sink, deps)
    sink.stop()
    database.dispose()
    platform.store.delete("InferenceService", name, NAMESPACE)


def idle(decision: Decision) -> bool:
    return decision.phase == "idle"


def held(decision: Decision) -> bool:
    return isinstance(decision.action, Hold)


def test_a_promotion(loop: Loop) -> None:
    assert loop.reconcile().phase == "idle"
    loop.model.alias("challenger", "2")
    loop.run(idle)
    assert loop.model.aliases == {"champion": "2", "previous_champion": "1"}
    assert loop.model.tags("2")["rollout"] == "promoted over 1"
    assert loop.cluster.traffic(loop.name) == {"2": 100}
    assert "canaryTrafficPercent" not in loop.cluster.predictor(loop.name)
    sent = loop.sink.of("service", "incident")
    assert [event["ce-type"].split(".")[3] for event in sent] == ["deployed", "upgraded"]
    assert len(sent) == len(loop.sink.events), "nothing is sent twice"
    assert {event["ce-traceparent"] for event in sent} == {TRACE}
    assert sent[1]["data"]["subject"]["content"]["artifactId"] == f"pkg:mlflow/{loop.name}@2"
    steps = [row["action"] for row in loop.log() if row["action_type"] == "set-percent"]
    assert steps == [f"set {share} of the traffic" for share in ("10%", "25%", "50%")] + ["set all traffic"]
    evidence = next(row["evidence"] for row in loop.log() if row["action"].startswith("set 25"))
    assert evidence["verdict"] == "pass"
    assert loop.made_champion("2") == ("canary-passed", "analysis")
    assert {m["n_challenger"] for m in evidence["measures"] if m["name"] == "failures"} == {450}
    before = loop.log()
    assert loop.reconcile().phase == "idle"
    assert loop.log() == before, "another reconciliation with nothing new is no new row"


def test_a_version_that_fails_goes_back(loop: Loop) -> None:
    loop.model.alias("challenger", "2")
    loop.run(idle, failing=("2",))
    assert loop.model.aliases == {"champion": "1", "challenger": "2"}
    tag = loop.model.tags("2")["rollout"]
    assert tag.startswith(
        "rolled back from 1 (analysis-failed by analysis): failed at 10%: failures 0.500 against 0.000"
    )
    assert loop.cluster.traffic(loop.name) == {"1": 100}
    sent = loop.sink.of("service", "incident")
    assert [event["ce-type"].split(".")[2] + " " + event["ce-type"].split(".")[3] for event in sent] == [
        "service deployed",
        "service rolledback",
        "incident detected",
    ]
    assert "failures 0.500" in sent[1]["data"]["customData"]["reason"]
    assert "failures 0.500" in sent[2]["data"]["subject"]["content"]["description"]
    for event in sent:
        message = build(
            Event(event["ce-id"], event["ce-source"], event["ce-type"], data=json.dumps(event["data"]).encode())
        )
        assert message is None or "failures 0.500" in message.why
    # Only when somebody removes the tag is it tried again, and then it is another attempt with events of its own.
    loop.model.untag("2", "rollout")
    loop.run(idle, wrong=("2",))
    assert "accuracy 0." in loop.model.tags("2")["rollout"]
    assert len(loop.sink.of("rolledback")) == 2


def test_too_little_evidence_holds_and_tells_once(loop: Loop) -> None:
    config = replace(loop.deps.settings.decision, max_step=0.5)
    loop.deps = replace(loop.deps, settings=replace(loop.deps.settings, decision=config))
    loop.model.alias("challenger", "2")
    until(lambda: held(loop.reconcile()))
    for _ in range(3):
        decision = loop.reconcile()
    assert "promote or abort it: 0 of at least 100 requests" in str(decision.reason)
    assert len(loop.sink.of("incident")) == 1
    assert len([event for event in loop.sink.events if "incident" in event["ce-type"]]) == 1
    assert loop.cluster.traffic(loop.name) == {"1": 90, "2": 10}
    loop.override("promote", "2")
    loop.run(idle)
    assert loop.model.aliases == {"champion": "2", "previous_champion": "1"}
    assert ("canary-skipped", "operator") in {(row["reason_code"], row["initiated_by"]) for row in loop.log()}
    assert loop.made_champion("2") == ("canary-passed", "operator")
    with transaction(loop.engine) as connection:
        assert overrides.read(connection, loop.name) is None


def test_hold_and_abort(loop: Loop) -> None:
    loop.override("hold", "2")
    loop.model.alias("challenger", "2")
    assert str(loop.run(held).reason) == "challenger 2 is held by the operator"
    loop.override("abort", "3")
    assert loop.reconcile().phase != "held", "an override for another version is void, and replaces the one before"
    until(lambda: loop.cluster.predictor(loop.name).get("canaryTrafficPercent") == 10 or not loop.reconcile())
    loop.override("hold", "2")
    decision = loop.run(held)
    assert str(decision.reason) == "held at 10% by the operator"
    assert loop.sink.of("incident") == [], "the operator knows"
    loop.override("abort", "2")
    loop.run(idle)
    assert loop.model.tags("2")["rollout"] == "rolled back from 1 (aborted by operator): aborted by the operator"
    assert [event["ce-type"].split(".")[3] for event in loop.sink.of("service", "incident")] == [
        "deployed",
        "rolledback",
    ]
    loop.model.untag("2", "rollout")
    assert loop.reconcile().phase != "held"
    assert "rollout" not in loop.model.tags("2"), "the old override does not abort the next try"


def test_a_new_challenger_starts_over(loop: Loop) -> None:
    loop.model.alias("challenger", "2")
    until(lambda: loop.reconcile().phase == "step")
    loop.model.alias("challenger", "3")
    loop.run(idle)
    assert loop.model.aliases == {"champion": "3", "previous_champion": "1"}
    assert "rollout" not in loop.model.tags("2")
    assert [event["ce-type"].split(".")[3] for event in loop.sink.of("service")] == ["deployed", "deployed", "upgraded"]


def test_a_revision_that_never_gets_ready_goes_back(loop: Loop) -> None:
    config = replace(loop.deps.settings.decision, max_start=1.0)
    loop.deps = replace(loop.deps, settings=replace(loop.deps.settings, decision=config))
    uri = f"mlflow://{loop.name}/2"
    broken.add(uri)
    try:
        loop.model.alias("challenger", "2")
        until(lambda: idle(loop.reconcile()))
    finally:
        broken.discard(uri)
    assert "its revision was not ready after" in loop.model.tags("2")["rollout"]
    assert loop.cluster.traffic(loop.name) == {"1": 100}


def test_looks_at_the_same_time_are_one_after_the_other(loop: Loop) -> None:
    loop.model.alias("challenger", "2")
    with ThreadPoolExecutor(4) as pool:
        for _ in range(30):
            actual = [pool.submit(loop.reconcile) for _ in range(4)]
            if any(idle(future.result()) for future in actual):
                break
            loop.feed()
    loop.run(idle)
    assert loop.model.aliases == {"champion": "2", "previous_champion": "1"}
    assert [event["ce-type"].split(".")[3] for event in loop.sink.of("service")] == ["deployed", "upgraded"]
    actions = [row["action"] for row in loop.log() if row["action"] not in ("wait", "hold")]
    assert len(actions) == len(set(actions)), actions


def test_a_sink_that_is_away_stops_no_rollback_and_loses_no_event(loop: Loop) -> None:
    loop.model.alias("challenger", "2")
    until(lambda: loop.reconcile().phase == "step")
    loop.sink.status = 503
    loop.feed(failing=("2",))

    def back() -> bool:
        with pytest.raises(UnavailableError, match="sink"):
            loop.reconcile()
        return loop.cluster.traffic(loop.name) == {"1": 100}

    until(back)
    assert loop.model.tags("2")["rollout"].startswith("rolled back")
    assert loop.sink.of("rolledback") == []
    loop.sink.status = 202
    loop.run(idle)
    assert len(loop.sink.of("rolledback")) == len(loop.sink.of("incident")) == 1


def test_an_edit_by_hand_is_put_right(loop: Loop) -> None:
    """storageUri without its annotation: what answers could not be told from the champion's."""
    patch = {"spec": {"predictor": {"model": {"storageUri": f"mlflow://{loop.name}/3"}}}}
    loop.cluster.store.patch("InferenceService", loop.name, patch, NAMESPACE)
    loop.run(idle)
    predictor = loop.cluster.predictor(loop.name)
    assert predictor["model"]["storageUri"] == f"mlflow://{loop.name}/1"
    assert predictor["annotations"]["coding-mcqa/model-version"] == "1"


def test_without_champion_or_service(loop: Loop) -> None:
    """Told only when it lasts: a loop that has just come up has neither."""
    now = [1000.0]
    deps = replace(
        loop.deps, clock=lambda: now[0], inference_service=InferenceServiceClient(NAMESPACE, "nothing", loop.name)
    )
    for _ in range(2):
        decision = reconcile(deps, None)
        assert (decision.action, decision.phase) == (Wait(), "deploying"), "the service is still to come"
    assert len(loop.log()) == 1
    now[0] += 61
    for _ in range(2):
        assert "there is no InferenceService" in str(reconcile(deps, None).reason)
    assert loop.sink.events == []
    now[0] += 300
    for _ in range(2):
        assert isinstance(reconcile(deps, None).action, Hold)
    assert len(loop.sink.events) == 1
    assert "there is no InferenceService" in loop.sink.events[0]["data"]["subject"]["content"]["description"]


def test_what_is_away_is_said(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(loop.reconcile().action, Wait)
    away = replace(loop.deps, registry=ModelRegistry({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, loop.name))
    with pytest.raises(UnavailableError, match="MLflow server"):
        reconcile(away, None)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    with pytest.raises(UnavailableError, match="Kubernetes API"):
        reconcile(replace(loop.deps, inference_service=InferenceServiceClient(NAMESPACE, loop.name, loop.name)), None)
    assert isinstance(loop.reconcile().action, Wait), "a client made before goes on"
