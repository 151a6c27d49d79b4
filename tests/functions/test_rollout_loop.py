"""The rollout's reconciler with a real MLflow server, a real API server with real serving, and a real database."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rollout_loop import NAMESPACE, Cluster, Model, SinkServer, broken, cluster, traffic, until
from sqlalchemy import Engine

from functions.database import engine, transaction
from functions.http import UnavailableError
from functions.migrate import migrate
from functions.registry import ModelRegistry
from functions.rollout import store
from functions.rollout.reconcile import Parts, reconcile
from functions.rollout.serving import Cluster as Api
from functions.rollout.settings import read_settings
from functions.rollout.world import Decision, Hold, Wish
from functions.sink import Sink

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("rollout")) as made:
        yield made


@dataclass
class Loop:
    """One registered model with its InferenceService, and what a look works with."""

    cluster: Cluster
    model: Model
    engine: Engine
    sink: SinkServer
    parts: Parts
    fed: tuple[int, float] = (0, 0.0)

    @property
    def name(self) -> str:
        return self.model.name

    def look(self) -> Decision:
        return reconcile(self.parts, None)

    def feed(self, **kinds: tuple[str, ...]) -> None:
        """Traffic for the step that has just begun, once."""
        with transaction(self.engine) as connection:
            record = store.read_record(connection, self.name)
        if record is None or record.steps[-1].percent == 0 or (self.fed == (record.steps[-1].percent, record.steps[-1].since)):
            return
        step = record.steps[-1]
        self.fed = (step.percent, step.since)
        mine = 450
        counts = {record.challenger: mine, record.champion: mine * (100 - step.percent) // step.percent}
        traffic(self.engine, counts, step.since, **kinds)

    def run(self, done, looks: int = 60, **kinds: tuple[str, ...]) -> tuple[Decision, list[int]]:
        """Looks, with traffic, until `done(decision)`; the decision and the challenger's shares on the way."""
        shares: list[int] = []
        for _ in range(looks):
            decision = self.look()
            share = self.cluster.predictor(self.name).get("canaryTrafficPercent")
            if share is not None and (not shares or shares[-1] != share):
                shares.append(share)
            if done(decision):
                return decision, shares
            self.feed(**kinds)
        raise AssertionError(f"not done after {looks} looks: {decision}")

    def wish(self, action: str, challenger: str) -> None:
        with transaction(self.engine) as connection:
            store.write_wish(connection, self.name, Wish(action, challenger), 1.0)  # type: ignore[arg-type]

    def log(self) -> list[dict]:
        with transaction(self.engine) as connection:
            return list(reversed(store.decisions(connection, self.name, 200)))


@pytest.fixture
def loop(
    platform: Cluster, mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    parts = Parts(settings, database, registry, Api(NAMESPACE, name, name), Sink({"K_SINK": sink.url}))
    yield Loop(platform, model, database, sink, parts)
    sink.stop()
    database.dispose()
    platform.store.delete("InferenceService", name, NAMESPACE)


def idle(decision: Decision) -> bool:
    return decision.phase == "idle"


def held(decision: Decision) -> bool:
    return isinstance(decision.action, Hold)


def test_a_promotion(loop: Loop) -> None:
    assert loop.look().phase == "idle"
    loop.model.alias("challenger", "2")
    last, shares = loop.run(idle)
    assert shares == [0, 10, 25, 50]
    assert loop.model.aliases == {"champion": "2", "previous_champion": "1"}
    assert loop.model.tags("2")["rollout"] == "promoted over 1"
    assert loop.cluster.traffic(loop.name) == {"2": 100}
    assert "canaryTrafficPercent" not in loop.cluster.predictor(loop.name)
    sent = loop.sink.of("service", "incident")
    assert [event["ce-type"].split(".")[3] for event in sent] == ["deployed", "upgraded"]
    assert len(sent) == len(loop.sink.events), "nothing is sent twice"
    assert {event["ce-traceparent"] for event in sent} == {TRACE}
    assert sent[1]["data"]["subject"]["content"]["artifactId"] == f"pkg:mlflow/{loop.name}@2"
    steps = [row["action"] for row in loop.log() if row["action"].startswith("set ")]
    assert steps == [f"set {share} of the traffic" for share in ("10 %", "25 %", "50 %")] + ["set all traffic"]
    evidence = next(row["evidence"] for row in loop.log() if row["action"].startswith("set 25"))
    assert evidence["verdict"] == "pass"
    assert {m["n_challenger"] for m in evidence["measures"] if m["name"] == "failures"} == {450}
    before = loop.log()
    assert loop.look().phase == "idle"
    assert loop.log() == before, "another look with nothing new is no new row"
