"""The functions as a cluster starts them: real processes, real HTTP, the statuses that the Broker acts on."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from alembic.script import ScriptDirectory
from function_server import ROOT, FunctionServer, environment, function

from functions.collect.feedback import outcome
from functions.database import engine, transaction
from functions.migrate import configuration, migrate

pytestmark = pytest.mark.usefixtures("processes")

REQUEST = {"type": "org.kubeflow.serving.inference.request", "source": "http://localhost:9081/"}
RESPONSE = {**REQUEST, "type": "org.kubeflow.serving.inference.response"}
FEEDBACK = {"type": "dev.cdeventsx.mcqa-answer.feedback", "source": "/ui"}
QUESTIONS = {"instances": [{"question": "1 + 1?", "choices": ["1", "2"]}]}
ANNOTATIONS = '{"coding-mcqa/model-version": "7 é"}'
HEAVY = ("pandas", "torch", "kserve", "mlflow", "kfp", "scipy", "numpy", "transformers", "alembic", "apprise")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("functions")


@pytest.fixture(scope="session")
def database_url(folder: Path) -> str:
    url = f"sqlite:///{folder}/loop.db"
    made = engine(url)
    migrate(made)
    made.dispose()
    return url


@pytest.fixture(scope="session")
def collect(folder: Path, database_url: str, processes: None) -> Iterator[FunctionServer]:
    with function("collect", folder / "collect.log", {"MCQA_DATABASE_URL": database_url}) as server:
        yield server


@pytest.fixture(scope="session")
def dead_letters(folder: Path, database_url: str, processes: None) -> Iterator[FunctionServer]:
    with function("dead-letters", folder / "dead-letters.log", {"MCQA_DATABASE_URL": database_url}) as server:
        yield server


@pytest.fixture(scope="session")
def silent_notify(folder: Path, database_url: str, processes: None) -> Iterator[FunctionServer]:
    with function("notify", folder / "notify.log", {"MCQA_DATABASE_URL": database_url}) as server:
        yield server


class Receiver:
    """A web hook that notes what it gets and answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.bodies: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.status == 200:
                    receiver.bodies.append(json.loads(body))
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}/"

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="session")
def receivers(processes: None) -> Iterator[tuple[Receiver, Receiver]]:
    both = Receiver(), Receiver()
    yield both
    for receiver in both:
        receiver.stop()


@pytest.fixture(scope="session")
def notify(
    folder: Path, database_url: str, receivers: tuple[Receiver, Receiver], processes: None
) -> Iterator[FunctionServer]:
    env = {"MCQA_DATABASE_URL": database_url, "MCQA_NOTIFY_URLS": " ".join(r.url for r in receivers)}
    with function("notify", folder / "notify-urls.log", env) as server:
        yield server


def query(folder: Path, statement: str) -> list[Any]:
    with sqlite3.connect(folder / "loop.db") as connection:
        return connection.execute(statement).fetchall()


def last_line(server: FunctionServer) -> dict[str, Any]:
    return json.loads([line for line in server.log.read_text().splitlines() if line.startswith("{")][-1])


def ago(seconds: float) -> tuple[str, float]:
    """So long ago, as an event says it and in Unix seconds."""
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds)
    return moment.isoformat(), moment.timestamp()


def test_collect_joins_and_answers_empty(collect: FunctionServer, folder: Path) -> None:
    answer = {"predictions": [{"letter": "B", "confidence": 0.9}]}
    (asked, asked_at), (answered, answered_at) = ago(12), ago(11)
    sent = [
        collect.post({"answer_id": "j1", "answer": "B"}, id="f1", **FEEDBACK),
        collect.post(answer, id="j1", annotations=ANNOTATIONS, time=answered, **RESPONSE),
        collect.post(QUESTIONS, id="j1", annotations=ANNOTATIONS, time=asked, **REQUEST),
        collect.post(QUESTIONS, id="j1", annotations=ANNOTATIONS, time=asked, **REQUEST),
    ]
    assert [(r.status_code, r.content) for r in sent] == [(202, b""), *[(204, b"")] * 3]
    assert last_line(collect)["message"] == "known already"
    joined = (
        "SELECT r.version, r.requested_at, s.responded_at, a.letter, f.letter FROM requests r JOIN responses s "
        "USING (source, id) JOIN answers a USING (source, id) JOIN feedback f ON f.answer_id = r.id WHERE r.id = 'j1'"
    )
    assert query(folder, joined) == [("7 é", asked_at, answered_at, "B", "B")]


def test_a_time_in_2099_does_not_beat_a_correction(collect: FunctionServer, folder: Path, database_url: str) -> None:
    """What feedback is answered with, and which of two words counts (tests/functions/test_collect_feedback.py)."""
    answer_id = {"answer_id": "c1"}
    assert collect.post(QUESTIONS, id="c1", **REQUEST).status_code == 204
    statuses = [
        collect.post({**answer_id, "answer": "A"}, id="c-1", time="2099-01-01T00:00:00Z", **FEEDBACK).status_code,
        collect.post({**answer_id, "answer": "B"}, id="c-2", **FEEDBACK).status_code,
        collect.post({**answer_id, "answer": "B"}, id="c-2", **FEEDBACK).status_code,
        collect.post({"answer_id": "c1/1", "answer": "B"}, id="c-3", **FEEDBACK).status_code,
    ]
    assert statuses == [204, 204, 204, 202]
    refused = collect.post({**answer_id, "answer": "C"}, id="c-4", **FEEDBACK)
    assert (refused.status_code, refused.text) == (400, "answer: the question has the letters A to B, found 'C'\n")
    made = engine(database_url)
    with transaction(made) as connection:
        actual = {
            id: outcome(connection, FEEDBACK["source"], id, "c1", x).reason for id, x in (("c-1", "A"), ("c-2", "B"))
        }
    made.dispose()
    assert actual == {"c-1": "superseded", "c-2": "counted"}
    assert query(folder, "SELECT COUNT(*) FROM feedback WHERE id = 'c-4'") == [(0,)]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", {"instances": []}, {"instances": [{"question": "?", "choices": ["a", "a"]}]}]
)
def test_what_the_model_server_refused_is_no_dead_letter(collect: FunctionServer, folder: Path, body: Any) -> None:
    response = collect.post(body, id="refused", **REQUEST)
    assert (response.status_code, response.content) == (204, b"")
    assert last_line(collect)["message"].startswith("nothing to record: refused by the model server, too: ")
    assert query(folder, "SELECT COUNT(*) FROM requests WHERE id = 'refused'") == [(0,)]


def test_duplicates_at_the_same_time_are_recorded_once(collect: FunctionServer, folder: Path) -> None:
    before = len(collect.log.read_text().splitlines())
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(collect.post, QUESTIONS, id=f"d{i % 5}", **REQUEST) for i in range(40)]
    assert {(s.result().status_code, s.result().content) for s in sent} == {(204, b"")}
    outcomes = [json.loads(line)["message"] for line in collect.log.read_text().splitlines()[before:]]
    assert (outcomes.count("recorded"), outcomes.count("known already")) == (5, 35)
    assert query(folder, "SELECT COUNT(*) FROM questions WHERE id LIKE 'd%'") == [(5,)]


def test_collect_takes_structured_mode(collect: FunctionServer, folder: Path) -> None:
    body = {"specversion": "1.0", "id": "s1", "data": QUESTIONS, **REQUEST}
    headers = {"content-type": "application/cloudevents+json"}
    response = httpx2.post(collect.url, content=json.dumps(body).encode(), headers=headers, timeout=30)
    assert (response.status_code, response.content) == (204, b"")
    assert query(folder, "SELECT choices FROM questions WHERE id = 's1'") == [(2,)]


@pytest.mark.parametrize(
    ("body", "attributes", "message"),
    [
        (b"{", {**RESPONSE, "id": "p1"}, "not JSON"),
        (QUESTIONS, {**REQUEST, "id": "p2", "type": "org.example"}, "collect knows"),
        (QUESTIONS, {**REQUEST, "id": "p3", "annotations": "["}, "annotations"),
        (QUESTIONS, REQUEST, "ce-id"),
        ({"answer_id": "x", "answer": "Z"}, {**FEEDBACK, "id": "p4"}, "answer: must be"),
    ],
)
def test_poison_goes_to_the_dead_letters(
    collect: FunctionServer, body: Any, attributes: dict[str, str], message: str
) -> None:
    response = collect.post(body, **attributes)
    # None of the codes that the Broker retries: 404, 408, 409, 429 and 5xx.
    assert response.status_code == 400
    assert message in response.text


def test_a_ping_deletes_what_is_too_old(collect: FunctionServer, folder: Path) -> None:
    assert collect.post(QUESTIONS, id="ancient", time=ago(91 * 86_400)[0], **REQUEST).status_code == 204
    # Nobody's question was asked in 1970: it came in just now.
    assert collect.post(QUESTIONS, id="epoch", time="1970-01-01T00:00:10Z", **REQUEST).status_code == 204
    assert collect.post(QUESTIONS, id="future", time="2099-01-01T00:00:00Z", **REQUEST).status_code == 204
    old = {"answer_id": "recent", "answer": "A"}
    assert collect.post(old, id="slow-clock", time=ago(100 * 86_400)[0], **FEEDBACK).status_code == 202
    recent = {"time": datetime.now(UTC).isoformat()}
    assert collect.post(QUESTIONS, id="recent", **recent, **REQUEST).status_code == 204
    ping = {"type": "dev.knative.sources.ping", "source": "/apis/v1/namespaces/coding-mcqa/pingsources/retention"}
    assert collect.post({}, id="tick", **ping).status_code == 204
    assert re.fullmatch(r"\d+ rows older than 90 days deleted", last_line(collect)["message"])
    with sqlite3.connect(folder / "loop.db") as db:
        actual = {id for (id,) in db.execute("SELECT id FROM requests")}
    assert {"recent", "epoch", "future"} <= actual
    assert query(folder, "SELECT COUNT(*) FROM feedback WHERE id = 'slow-clock'") == [(1,)]
    assert "ancient" not in actual


def test_get_is_refused(collect: FunctionServer) -> None:
    assert httpx2.get(collect.url, timeout=30).status_code == 405


def test_a_locked_database_is_retried(collect: FunctionServer, folder: Path) -> None:
    writer = sqlite3.connect(folder / "loop.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        response = collect.post(QUESTIONS, id="locked", **REQUEST)
    finally:
        writer.execute("ROLLBACK")
        writer.close()
    assert response.status_code == 503
    assert "locked" in response.text
    assert collect.post(QUESTIONS, id="locked", **REQUEST).status_code == 204
    assert last_line(collect)["message"] == "recorded"


def test_dead_letters_are_kept(dead_letters: FunctionServer, folder: Path) -> None:
    added = {"knativeerrordest": "http://collect", "knativeerrorcode": "400", "knativeerrordata": "bm90IEpTT04="}
    long = "x" * 3000
    for _ in range(2):
        assert dead_letters.post(b"\x00{", id=long, **REQUEST, **added).content == b""
    rows = query(folder, "SELECT source, data, reason, code, state, times FROM dead_letters")
    assert rows == [("http://localhost:9081/", b"\x00{", "not JSON", 400, "open", 2)]


def cdevent(type: str, id: str, content: dict[str, Any], **custom: Any) -> tuple[dict[str, Any], dict[str, str]]:
    return {"subject": {"id": id, "content": content}, "customData": custom}, {"type": type, "source": "/loop"}


def test_without_targets_a_message_is_logged(silent_notify: FunctionServer) -> None:
    data, attributes = cdevent("dev.cdevents.incident.detected.0.3.0", "i1", {"description": "it broke"})
    assert silent_notify.post(data, id="n1", **attributes).status_code == 204
    assert "it broke" in last_line(silent_notify)["message"]
    assert silent_notify.post({}, id="n2", source="/s", type="dev.cdevents.change.merged.0.3.0").status_code == 204
    assert silent_notify.post([], id="n3", **attributes).status_code == 400


def test_each_target_is_told_once(notify: FunctionServer, receivers: tuple[Receiver, Receiver], folder: Path) -> None:
    first, second = receivers
    data, attributes = cdevent("dev.cdevents.pipelinerun.finished.0.3.0", "run-1", {"outcome": "failure"}, reason="oom")
    second.status = 500
    refused = notify.post(data, id="m1", **attributes)
    assert (refused.status_code, "1 of 2 targets" in refused.text) == (503, True)
    second.status = 200
    assert notify.post(data, id="m1", **attributes).status_code == 204  # the retry
    assert notify.post(data, id="m1", **attributes).status_code == 204  # a duplicate
    assert notify.post(data, id="m2", **attributes).status_code == 204  # the same content
    assert [len(r.bodies) for r in receivers] == [1, 1]
    assert first.bodies[0]["title"] == "Retraining finished: run run-1, outcome failure"
    assert first.bodies[0]["type"] == "failure"
    assert first.bodies[0]["message"].startswith("Why: oom\nWhat to do: ")
    other, _ = cdevent("dev.cdevents.pipelinerun.finished.0.3.0", "run-2", {"outcome": "failure"})
    assert notify.post(other, id="m3", **attributes).status_code == 204
    assert [len(r.bodies) for r in receivers] == [2, 2]
    assert query(folder, "SELECT COUNT(*) FROM notices") == [(4,)]


@pytest.mark.parametrize(
    ("name", "env", "message"),
    [
        ("collect", {}, "MCQA_DATABASE_URL is not set"),
        ("notify", {"MCQA_DATABASE_URL": "sqlite://", "MCQA_NOTIFY_URLS": "nope://secret"}, "entry 0 (nope://…)"),
    ],
)
def test_a_bad_setting_is_named_at_the_start(name: str, env: dict[str, str], message: str) -> None:
    modules = _import(name, env, "")
    assert modules.returncode != 0
    assert message in modules.stderr
    assert "secret" not in modules.stderr


@pytest.mark.parametrize("name", ["collect", "notify", "dead_letters"])
def test_a_cold_start_imports_only_what_it_needs(name: str) -> None:
    more = f"heavy = [m for m in {HEAVY!r} if m in sys.modules]; print(json.dumps([heavy, round(seconds, 3)]))"
    modules = _import(name, {"MCQA_DATABASE_URL": "sqlite://"}, more)
    assert modules.returncode == 0, modules.stderr
    heavy, seconds = json.loads(modules.stdout)
    print(f"{name}: functions_framework and handler imported in {seconds} s")
    assert heavy == []


def _import(name: str, env: dict[str, str], more: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import json, sys, time; begin = time.perf_counter(); import functions_framework; "
        f"import functions.{name}.handler; seconds = time.perf_counter() - begin; {more}"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(**env), capture_output=True, text=True, timeout=120
    )


def test_migrate_as_a_command(tmp_path: Path) -> None:
    def run(**env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "functions.migrate"]
        return subprocess.run(command, cwd=ROOT, env=environment(**env), capture_output=True, text=True, timeout=120)

    assert run(MCQA_DATABASE_URL=f"sqlite:///{tmp_path}/new.db").returncode == 0
    with sqlite3.connect(tmp_path / "new.db") as connection:
        head = ScriptDirectory.from_config(configuration()).get_current_head()
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head,)]
    refused = run(MCQA_DATABASE_URL=f"sqlite:///{tmp_path}/no/such/folder.db")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert run().stderr.startswith("functions.migrate: MCQA_DATABASE_URL is not set")
