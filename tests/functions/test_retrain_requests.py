"""Retrainings that no drift asks for, and a pipeline server that wants a token and a namespace."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from function_server import function
from kfp_multi_user import multi_user_kubeflow
from kfp_server import ENVIRON, kfp_server
from loop_parts import Sink, register, set_champion, sink
from sqlalchemy import Engine, insert, select
from stub_pipeline import upload

from common.errors import UnavailableError
from common.event_types import PING, PIPELINERUN_QUEUED, RETRAINING_REQUESTED
from common.kubeflow import KubeflowClient
from common.mlflow.registry import ModelRegistry
from functions.collect.tables import GivenFeedback
from functions.database import engine
from functions.migrate import migrate
from functions.retrain.tables import RetrainRun

pytestmark = pytest.mark.usefixtures("processes")

WEEKLY = {"type": PING, "source": "/apis/v1/namespaces/coding-mcqa/pingsources/retrain-weekly"}
ASKED = {"type": RETRAINING_REQUESTED, "source": "/mcqa/pipeline"}


@pytest.fixture(scope="module")
def kfp_url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("requests-kfp")
    with kfp_server(folder) as server:
        upload(server.url, folder)
        yield server.url


@dataclass
class Loop:
    database: Engine
    out: Sink
    champion: str
    env: dict[str, str]

    def rows(self) -> list[Any]:
        with self.database.connect() as connection:
            return list(connection.execute(select(RetrainRun.__table__).order_by(RetrainRun.created_at)).all())

    def feedback(self, count: int) -> None:
        now = time.time()
        rows = [
            {"source": "/u", "id": uuid4().hex, "answer_id": str(n), "place": 0, "letter": "A", "given_at": now}
            for n in range(count)
        ]
        with self.database.begin() as connection:
            connection.execute(insert(GivenFeedback), rows)


@pytest.fixture
def loop(tmp_path: Path, mlflow_url: str, kfp_url: str, processes: None) -> Iterator[Loop]:
    url, model = f"sqlite:///{tmp_path}/loop.db", f"requests-{uuid4().hex[:8]}"
    database = engine(url)
    migrate(database)
    champion = register(mlflow_url, model, {})
    set_champion(mlflow_url, model, champion)
    with sink() as out:
        env = {
            "MCQA_DATABASE_URL": url,
            "K_SINK": out.url,
            "MLFLOW_TRACKING_URI": mlflow_url,
            "KFP_ENDPOINT": kfp_url,
            **ENVIRON,
            "MCQA_REGISTERED_MODEL": model,
            "MCQA_RETRAIN_PARAMETERS": json.dumps({"marks": str(tmp_path / "marks")}),
        }
        yield Loop(database, out, champion, env)
    database.dispose()


def test_a_weekly_tick_retrains_once_a_week_where_there_is_feedback(loop: Loop, tmp_path: Path) -> None:
    with function("retrain", tmp_path / "retrain.log", loop.env) as server:
        tick = {**WEEKLY, "time": "2026-11-23T03:00:00Z"}
        assert server.post({"reason": "weekly"}, id="1", **tick).status_code == 204
        (row,) = loop.rows()
        assert (row.state, row.champion) == ("void", "")
        assert row.error == f"0 answers got feedback since version {loop.champion} was made, at least 200 needed"
        assert f"dropped: {row.error}; nothing: " in (tmp_path / "retrain.log").read_text()
        loop.feedback(200)
        assert server.post({"reason": "weekly"}, id="2", **tick).status_code == 204  # the same week
        assert [item.state for item in loop.rows()] == ["void"]
        tick["time"] = "2026-11-30T03:00:00Z"
        assert server.post({"reason": "weekly"}, id="3", **tick).status_code == 204
        assert server.post({}, id="4", **tick).status_code == 204  # a tick without data only looks
        assert server.post(b"", id="5", **tick).status_code == 204
        row = loop.rows()[-1]
        assert row.champion == loop.champion
        assert row.state in ("queued", "running", "succeeded")
        made = ModelRegistry(loop.env, loop.env["MCQA_REGISTERED_MODEL"]).version(loop.champion)
        assert made is not None
        assert row.since == made.created > 0
        assert len(loop.rows()) == 2
        actual = {name: row.parameters[name] for name in ("champion", "since", "reason", "drift_event", "run_key")}
        assert actual == {
            "champion": loop.champion, "since": made.created, "reason": "weekly", "run_key": row.key,
            "drift_event": f"{WEEKLY['source']} 3",
        }  # fmt: skip
        (queued,) = loop.out.of(PIPELINERUN_QUEUED)
        assert queued.data["customData"]["reason"] == "weekly"
        assert server.post({"no": "reason"}, id="6", **ASKED).status_code == 400
        assert server.post({"reason": "r", "model": "other"}, id="7", **ASKED).status_code == 400


def test_a_request_by_hand_waits_for_its_turn(loop: Loop, tmp_path: Path) -> None:
    loop.feedback(300)
    with function("retrain", tmp_path / "retrain.log", loop.env) as server:
        assert server.post({"reason": "new subjects"}, id="1", **ASKED).status_code == 204
        assert server.post({"reason": "new subjects"}, id="1", **ASKED).status_code == 204  # delivered twice
        (first,) = loop.rows()
        assert first.state in ("queued", "running", "succeeded")
        assert server.post({"reason": "new subjects"}, id="2", **ASKED).status_code == 204
        assert [row.state for row in loop.rows()][1:] == ["waiting"], "one at a time, then the cool-down"


def test_a_multi_user_server_gets_token_namespace_experiment_and_service_account(
    loop: Loop, kfp_url: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    loop.feedback(250)
    with multi_user_kubeflow(kfp_url, "new", "team-a") as gate:
        own = {
            "KFP_ENDPOINT": gate.url,
            "MCQA_KFP_TOKEN_PATH": str(token),
            "MCQA_KFP_NAMESPACE": "team-a",
            "MCQA_KFP_SERVICE_ACCOUNT": "default-editor",
        }
        server = KubeflowClient({**loop.env, **own})
        with pytest.raises(UnavailableError, match="answered 401"):
            server.newest_version()
        token.write_text("new\n")  # the kubelet replaces it; no restart
        with function("retrain", tmp_path / "retrain.log", {**loop.env, **own}) as process:
            assert process.post({"reason": "by hand"}, id="1", **ASKED).status_code == 204
        (row,) = loop.rows()
        assert row.run_id, row
        run = server.run(row.run_id)
        assert run is not None
        assert run["service_account"] == "default-editor"
        assert run["experiment_id"] == server.experiment_id() == KubeflowClient({**loop.env, **own}).experiment_id()
        assert server.experiment == "coding-mcqa"
        assert len(gate.refused) == 1, "the one with the old token"
        named = KubeflowClient({**loop.env, **own, "MCQA_KFP_EXPERIMENT": "other"})
        assert named.experiment_id() not in ("", run["experiment_id"])
    assert KubeflowClient(loop.env).experiment_id() == ""
