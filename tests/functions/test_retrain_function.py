"""retrain on a real pipeline server, a real registry and a real database: one run for one drift, whatever happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from kfp_server import ENVIRON, HEADERS, kfp_server
from loop_parts import Sink, kill_all, killable, register, set_champion, sink
from sqlalchemy import Engine, select
from stub_pipeline import upload

from common.errors import SettingError, UnavailableError
from common.event_types import (
    DRIFT_DETECTED,
    INCIDENT_DETECTED,
    PING,
    PIPELINERUN_FINISHED,
    PIPELINERUN_QUEUED,
    PIPELINERUN_STARTED,
)
from common.kubeflow import KubeflowClient
from common.mlflow.registry import ModelRegistry
from functions.database import engine
from functions.events import BadEventError
from functions.migrate import migrate
from functions.notify.message import build
from functions.reasons import InitiatedBy
from functions.retrain.decision import read_drift
from functions.retrain.reconcile import GRACE, RetrainReconciler
from functions.retrain.settings import read_settings
from functions.retrain.store import insert_waiting
from functions.retrain.tables import RetrainRun
from functions.sink import Sink as EventSink
from functions.sink import digest

pytestmark = pytest.mark.usefixtures("processes")

TICK = {"type": PING, "source": "/apis/v1/namespaces/coding-mcqa/pingsources/retrain"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def kfp_url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("retrain-kfp")
    with kfp_server(folder, None, "--parallel", "2") as server:
        upload(server.url, folder)
        yield server.url


@dataclass
class Loop:
    """A retrain function's surroundings. `clock` is what the function takes for now, in the process of the test."""

    database: Engine
    out: Sink
    model: str
    champion: str
    env: dict[str, str]
    marks: Path
    ahead: float = 0.0
    made: dict[str, RetrainReconciler] = field(default_factory=dict)

    def retrain(self, **env: str) -> RetrainReconciler:
        environ = {**self.env, **env}
        parts = (read_settings(environ), self.database, ModelRegistry(environ, self.model), KubeflowClient(environ))
        return RetrainReconciler(*parts, EventSink(environ).send, lambda: time.time() + self.ahead)

    def drift(self, window: float = 200.0, version: str | None = None) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": version or self.champion,
            "window_start": 100.0,
            "window_end": window,
            "drift_since": 50.0,
            "data_digest": digest(window),
            "reason": "confidence by 0.5 sd",
        }

    def ask(self, **of: Any) -> str:
        drift = read_drift(self.drift(**of))
        with self.database.begin() as connection:
            insert_waiting(
                connection,
                drift,
                InitiatedBy.DRIFT,
                "/coding-mcqa/drift",
                f"event-{drift.key[:6]}",
                TRACE,
                time.time() + self.ahead,
            )
        return drift.key

    def row(self, key: str) -> Any:
        with self.database.connect() as connection:
            return connection.execute(select(RetrainRun.__table__).where(RetrainRun.key == key)).one()

    def runs(self, key: str) -> list[dict[str, Any]]:
        return KubeflowClient(self.env).runs_named(f"retrain-{key[:16]}")

    def until(self, retrain: RetrainReconciler, key: str, *states: str) -> Any:
        deadline = time.monotonic() + 60
        while self.row(key).state not in states:
            assert time.monotonic() < deadline, self.row(key)
            retrain.reconcile()
            time.sleep(0.1)
        return self.row(key)


@pytest.fixture
def loop(tmp_path: Path, mlflow_url: str, kfp_url: str, processes: None) -> Iterator[Loop]:
    url, model = f"sqlite:///{tmp_path}/loop.db", f"retrain-{uuid4().hex[:8]}"
    database = engine(url)
    migrate(database)
    champion = register(mlflow_url, model, {})
    set_champion(mlflow_url, model, champion)
    marks = tmp_path / "marks"
    with sink() as out:
        env = {
            "MCQA_DATABASE_URL": url,
            "K_SINK": out.url,
            "MLFLOW_TRACKING_URI": mlflow_url,
            "KFP_ENDPOINT": kfp_url,
            **ENVIRON,
            "MCQA_REGISTERED_MODEL": model,
            "MCQA_RETRAIN_PARAMETERS": json.dumps({"marks": str(marks)}),
        }
        yield Loop(database, out, model, champion, env, marks)
    database.dispose()


def test_one_run_for_one_drift_from_its_event_to_its_end(loop: Loop, mlflow_url: str, tmp_path: Path) -> None:
    key = read_drift(loop.drift()).key
    version = register(mlflow_url, loop.model, {}, run_key=key)  # as its pipeline would
    with killable("retrain", tmp_path / "retrain.log", loop.env) as process:
        function = process.start()
        attributes = {"type": DRIFT_DETECTED, "source": "/coding-mcqa/drift", "traceparent": TRACE}
        for id in ("d1", "d1", "d2"):  # the same event twice, and the same drift in another event
            assert function.post(loop.drift(), id=id, **attributes).status_code == 204
        row = loop.row(key)
        assert row.state in ("queued", "running", "succeeded")
        assert (row.drift_id, row.traceparent) == ("d1", TRACE)
        deadline = time.monotonic() + 60
        while loop.row(key).state not in ("succeeded", "failed"):
            assert time.monotonic() < deadline
            assert function.post({}, id=uuid4().hex, **TICK).status_code == 204
            time.sleep(0.1)
        assert function.post({}, id=uuid4().hex, **TICK).status_code == 204
        assert function.post({}, id="x", source="/s", type="org.example").status_code == 400
        assert function.post({"model": loop.model}, id="x", **attributes).status_code == 400
        assert process.lines()[-3]["message"] == "nothing: no drift and no request waits for a retraining"
    row = loop.row(key)
    assert (row.state, row.version, row.attempt, row.announced) == ("succeeded", version, 1, 4)
    (run,) = loop.runs(key)
    assert run["runtime_config"]["parameters"] == {**row.parameters}
    assert row.parameters == {
        "marks": str(loop.marks),
        "run_key": key,
        "model_name": loop.model,
        "champion": loop.champion,
        "since": 50.0,
        "until": row.parameters["until"],
        "reason": "confidence by 0.5 sd",
        "traceparent": TRACE,
        "drift_event": "/coding-mcqa/drift d1",
    }
    reported = [(sent.attributes["type"], sent.data["subject"]["id"]) for sent in loop.out.events]
    assert reported == [(t, key) for t in (PIPELINERUN_QUEUED, PIPELINERUN_STARTED, PIPELINERUN_FINISHED)]
    assert {sent.attributes["traceparent"] for sent in loop.out.events} == {TRACE}
    assert loop.out.events[-1].data["subject"]["content"]["outcome"] == "success"
    assert loop.out.events[-1].data["customData"]["version"] == version


def test_a_run_without_a_version_is_the_gates_no(loop: Loop) -> None:
    retrain, key = loop.retrain(), loop.ask()
    row = loop.until(retrain, key, "succeeded")
    assert row.version is None
    (finished,) = loop.out.of(PIPELINERUN_FINISHED)
    assert finished.data["subject"]["content"]["outcome"] == "failure"
    from functions.events import Event

    ours = Event("1", "/s", PIPELINERUN_FINISHED, data=json.dumps(finished.data).encode())
    pipelines = Event("2", "/p", PIPELINERUN_FINISHED, data=_pipelines_own(key, "failure"))
    first, second = build(ours), build(pipelines)
    assert first is not None
    assert second is not None
    assert first.key == second.key  # people are told once, whoever was first


def _pipelines_own(key: str, outcome: str) -> bytes:
    from pipelines.retraining.events import finished

    return finished(key, TRACE, outcome, "the gate said no").data


def test_what_breaks_is_tried_again_and_then_given_up(loop: Loop) -> None:
    parameters = json.dumps({"marks": str(loop.marks), "fails": 9})
    retrain, key = loop.retrain(MCQA_RETRAIN_PARAMETERS=parameters), loop.ask()
    row = loop.until(retrain, key, "failed")
    assert (row.attempt, len(loop.runs(key)), "not this time" in row.error) == (2, 2, True)
    first, second = sorted(loop.runs(key), key=lambda run: str(run["created_at"]))
    assert first["finished_at"] <= second["created_at"]  # never two at a time
    assert len(set(loop.marks.read_text().splitlines())) == 1  # both learn from the same
    assert [s.data["subject"]["content"]["outcome"] for s in loop.out.of(PIPELINERUN_FINISHED)] == ["error"]
    (incident,) = loop.out.of(INCIDENT_DETECTED)
    assert "failed 2 times" in incident.data["subject"]["content"]["description"]
    assert retrain.reconcile().startswith("nothing")


def test_the_cool_down_the_one_at_a_time_and_the_changed_champion(loop: Loop, mlflow_url: str) -> None:
    retrain, key = loop.retrain(MCQA_RETRAIN_COOLDOWN_SECONDS="1000"), loop.ask()
    retrain.reconcile()
    second = loop.ask(window=300.0)
    assert retrain.reconcile()
    assert loop.row(second).state == "waiting"
    loop.until(retrain, key, "succeeded")
    assert "cool-down" in retrain.reconcile()
    loop.ahead = 900.0
    assert "cool-down" in retrain.reconcile()
    loop.ahead = 1100.0
    assert "started" in retrain.reconcile()
    assert loop.row(second).state == "queued"
    loop.until(retrain, second, "succeeded")
    third = loop.ask(window=400.0)
    set_champion(mlflow_url, loop.model, register(mlflow_url, loop.model, {}))
    loop.ahead = 5000.0
    assert "champion is version 2 now, not version 1; nothing: " in retrain.reconcile()
    assert loop.row(third).state == "void"
    assert loop.runs(third) == []


def test_a_run_that_the_server_refuses_is_not_asked_for_again(loop: Loop) -> None:
    retrain, key = loop.retrain(MCQA_RETRAIN_PARAMETERS='{"no_such_parameter": 1}'), loop.ask()
    assert "refused" in retrain.reconcile()
    row = loop.row(key)
    assert (row.state, row.run_id, "no_such_parameter" in row.error) == ("failed", None, True)
    assert retrain.reconcile().startswith("nothing")
    assert [s.data["subject"]["content"]["outcome"] for s in loop.out.of(PIPELINERUN_FINISHED)] == ["error"]


def test_a_deleted_run_is_a_decision(loop: Loop, kfp_url: str) -> None:
    retrain, key = loop.retrain(), loop.ask()
    retrain.reconcile()
    run = loop.row(key).run_id
    httpx2.post(f"{kfp_url}/apis/v2beta1/runs/{run}:terminate", headers=HEADERS, timeout=10)
    deadline = time.monotonic() + 30
    while httpx2.delete(f"{kfp_url}/apis/v2beta1/runs/{run}", headers=HEADERS, timeout=10).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    row = loop.until(retrain, key, "canceled")
    assert "gone" in row.error
    assert loop.runs(key) == []
    assert "started" not in retrain.reconcile()


@dataclass
class Proxy:
    """Before the pipeline server: `lost` requests to start a run do not reach it, `after` is called when one has."""

    url: str = ""
    lost: bool = False
    after: Callable[[], None] = lambda: None


@pytest.fixture
def proxy(kfp_url: str, processes: None) -> Iterator[Proxy]:
    made = Proxy()

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            starts = self.command == "POST" and self.path.endswith("/runs")
            if starts and made.lost:
                made.after()
                return
            headers = {"content-type": "application/json", **HEADERS}
            answer = httpx2.request(self.command, kfp_url + self.path, content=body, headers=headers, timeout=20)
            if starts:
                made.after()
            try:
                self.send_response(answer.status_code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)
            except OSError:
                pass  # it was killed

        do_GET = do_POST = _pass  # noqa: N815 - names that http.server looks up

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_killed_when_the_run_is_started_and_not_noted(loop: Loop, proxy: Proxy, tmp_path: Path) -> None:
    key = loop.ask()
    with killable("retrain", tmp_path / "retrain.log", {**loop.env, "KFP_ENDPOINT": proxy.url}) as process:
        function = process.start()
        victim = process.process
        assert victim is not None
        proxy.after = lambda: kill_all(victim)
        with pytest.raises(httpx2.TransportError):
            function.post({}, id="1", **TICK)
        assert (loop.row(key).state, loop.row(key).run_id) == ("starting", None)
        proxy.after = lambda: None
        process.kill()
        function = process.start()
        assert function.post({}, id="2", **TICK).status_code == 204
        assert "was started before" in process.lines()[-1]["message"]
    assert [run["run_id"] for run in loop.runs(key)] == [loop.row(key).run_id]


def test_killed_before_the_server_knew_it_waits_and_asks_again(loop: Loop, proxy: Proxy, tmp_path: Path) -> None:
    key = loop.ask()
    proxy.lost = True
    with killable("retrain", tmp_path / "retrain.log", {**loop.env, "KFP_ENDPOINT": proxy.url}) as process:
        function = process.start()
        victim = process.process
        assert victim is not None
        proxy.after = lambda: kill_all(victim)
        with pytest.raises(httpx2.TransportError):
            function.post({}, id="1", **TICK)
    retrain = loop.retrain()
    assert "not listed yet" in retrain.reconcile()
    assert loop.runs(key) == []
    loop.ahead = GRACE + 1
    assert "started" in retrain.reconcile()
    assert len(loop.runs(key)) == 1


def test_of_looks_at_the_same_time_one_starts_the_run(loop: Loop) -> None:
    key = loop.ask()
    lines: list[str] = []

    def look(retrain: RetrainReconciler) -> None:
        try:
            lines.append(retrain.reconcile())
        except UnavailableError as error:
            lines.append(str(error))

    threads = [threading.Thread(target=look, args=(loop.retrain(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loop.runs(key)) == 1, lines
    assert sum("started: run" in line for line in lines) == 1, lines


def test_a_server_that_is_away_changes_nothing(loop: Loop) -> None:
    key = loop.ask()
    with pytest.raises(UnavailableError, match="does not answer"):
        loop.retrain(KFP_ENDPOINT="http://127.0.0.1:9").reconcile()
    assert loop.row(key).state == "starting"
    assert "started" in loop.retrain().reconcile()
    assert len(loop.runs(key)) == 1


def test_settings_say_what_is_wrong() -> None:
    assert (read_settings({}).cooldown, read_settings({}).attempts, read_settings({}).parameters) == (21_600.0, 2, {})
    for value in ("[", "[1]", '{"run_key": "x"}'):
        with pytest.raises(SettingError, match="MCQA_RETRAIN_PARAMETERS must"):
            read_settings({"MCQA_RETRAIN_PARAMETERS": value})
    with pytest.raises(BadEventError):
        read_drift({})
