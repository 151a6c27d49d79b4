"""The rollout function as its Knative Service starts it: webhooks of a real MLflow server, ticks, kills."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from function_server import ROOT, FunctionServer, command, environment, free_port
from rollout_loop import NAMESPACE, SECRET, Cluster, Model, SinkServer, cluster, traffic, until
from sqlalchemy import Engine, func, select

from common.event_types import PING, ROLLOUT_REQUESTED
from functions.database import engine, transaction
from functions.migrate import migrate
from functions.rollout import store
from functions.rollout.state import StepRecord
from functions.rollout.tables import WebhookDelivery
from functions.rollout.webhook import signature

pytestmark = pytest.mark.usefixtures("processes")

NUMBERS = itertools.count(1)

PREVIOUS = "the secret before SECRET"


@dataclass
class Function:
    """The function on a port that outlives its process."""

    env: dict[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> FunctionServer:
        return FunctionServer(f"http://127.0.0.1:{self.port}/", self.log)

    def start(self) -> None:
        env = environment(PORT=str(self.port), HOST="127.0.0.1", THREADS="4", **self.env)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(command("rollout"), cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT)

        def listens() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False

        until(listens, 60)

    def kill(self) -> None:
        """gunicorn's master and its workers, at once."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def tick(self) -> httpx2.Response:
        return self.server.post({}, id=str(next(NUMBERS)), source="/pingsources/rollout", type=PING)


@dataclass
class Loop:
    cluster: Cluster
    model: Model
    engine: Engine
    sink: SinkServer
    function: Function
    fed: StepRecord | None = None

    def feed(self, **kinds: tuple[str, ...]) -> None:
        with transaction(self.engine) as connection:
            record = store.read_record(connection, self.model.name)
        step = record.steps[-1] if record else None
        if record is not None and step is not None and step.percent and step != self.fed:
            self.fed = step
            counts = {record.challenger: 450, record.champion: 450 * (100 - step.percent) // step.percent}
            traffic(self.engine, counts, step.since, **kinds)

    def phase(self) -> str:
        with transaction(self.engine) as connection:
            look = store.read_status(connection, self.model.name)
        return look["phase"] if look else ""

    def deliveries(self) -> int:
        with transaction(self.engine) as connection:
            return connection.scalar(select(func.count()).select_from(WebhookDelivery)) or 0

    def webhook(self, body: bytes, method: str = "POST", **headers: str) -> httpx2.Response:
        return httpx2.request(method, f"{self.function.server.url}mlflow", content=body, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("rollout-function")) as made:
        yield made


@pytest.fixture(scope="module")
def loop(
    platform: Cluster, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory, processes: None
) -> Iterator[Loop]:
    """Version 1 is champion and serves; MLflow's webhook goes to the running function."""
    folder = tmp_path_factory.mktemp("function")
    name = f"rollout-function-{os.getpid()}"
    model = Model(mlflow_url, name)
    model.create(1)
    platform.deploy(name, name, "1")
    url = f"sqlite:///{folder}/loop.db"
    database = engine(url)
    migrate(database)
    sink = SinkServer()
    env = {
        "MCQA_DATABASE_URL": url,
        "MCQA_REGISTERED_MODEL": name,
        "MCQA_INFERENCE_SERVICE": name,
        "MCQA_NAMESPACE": NAMESPACE,
        "MCQA_ROLLOUT_MIN_SECONDS": "0",
        "MCQA_ROLLOUT_DEADLINE_SECONDS": "0.1",
        "MCQA_WEBHOOK_SECRET": SECRET,
        "MCQA_WEBHOOK_SECRET_PREVIOUS": PREVIOUS,
        "MLFLOW_TRACKING_URI": mlflow_url,
        "K_SINK": sink.url,
        "KUBECONFIG": str(platform.kubeconfig),
    }
    function = Function(env, folder / "rollout.log")
    function.start()
    made = model.call(
        "POST",
        "webhooks",
        name=name,
        url=f"{function.server.url}mlflow",
        secret=SECRET,
        events=[{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}],
        status="ACTIVE",
    )
    # Only now: MLflow keeps for a minute which webhooks an event has, also that there are none.
    model.alias("champion", "1")
    yield Loop(platform, model, database, sink, function)
    model.call("DELETE", f"webhooks/{made['webhook']['webhook_id']}")
    function.stop()
    sink.stop()
    database.dispose()


@pytest.fixture
def broker(loop: Loop) -> Iterator[None]:
    """The sink passes what asks for a look on to the function, as the Trigger does."""

    def deliver(headers: dict[str, str], body: bytes) -> None:
        if headers["ce-type"] == ROLLOUT_REQUESTED:
            kept = {name: value for name, value in headers.items() if name.startswith("ce-") or name == "content-type"}
            httpx2.post(loop.function.server.url, content=body, headers=kept, timeout=30)

    loop.sink.forward = deliver
    yield
    loop.sink.forward = None


def pinned(loop: Loop) -> str:
    return loop.cluster.predictor(loop.model.name)["model"]["storageUri"].rpartition("/")[2]


def promote(loop: Loop, version: str) -> None:
    """Ticks and traffic until the version is champion and nothing is left to do."""

    def done() -> bool:
        with suppress(httpx2.TransportError):
            loop.function.tick()
        loop.feed()
        return loop.phase() == "idle" and loop.model.aliases.get("champion") == version

    until(done, 60)


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("broker")
def test_mlflow_asks_for_the_rollout_by_its_webhook(loop: Loop) -> None:
    before = loop.deliveries()
    version = loop.model.add()
    for _ in range(40):  # a test before may have set an alias, see the fixture
        loop.model.alias("challenger", version)
        with suppress(AssertionError):
            until(lambda: pinned(loop) == version, 2)  # without a single tick
            break
    assert pinned(loop) == version
    assert loop.deliveries() > before
    promote(loop, version)
    assert loop.model.tags(version)["rollout"].startswith("promoted over")
    assert loop.cluster.traffic(loop.model.name) == {version: 100}


def test_a_lost_webhook_is_healed_by_the_next_tick(loop: Loop) -> None:
    # Nobody passes the webhook's event on.
    version = loop.model.add()
    loop.model.alias("challenger", version)
    time.sleep(0.3)
    assert pinned(loop) != version
    answer = loop.function.tick()
    assert (answer.status_code, answer.content) == (204, b"")
    assert pinned(loop) == version
    promote(loop, version)


def body(name: str, **more: Any) -> bytes:
    payload = {"name": name, "alias": "challenger", "version": "1"}
    call = {"entity": "model_version_alias", "action": "created", "timestamp": "2026-01-01T00:00:00+00:00"}
    return json.dumps({**call, "data": payload, **more}).encode()


def signed(content: bytes, delivery: str, age: float = 0.0, secret: str = SECRET) -> dict[str, str]:
    timestamp = str(int(time.time() - age))
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": timestamp,
        "X-MLflow-Signature": signature(secret, delivery, timestamp, content),
    }


ODD: tuple[Any, ...] = ([], ["model_version"], {}, {"a": {"b": []}}, 7, 1.5, True, None)


def refusals(name: str) -> dict[str, tuple[int, bytes, dict[str, str]]]:
    good = body(name)
    moved = signed(good, "moved")
    return {
        "another secret": (401, good, signed(good, "r1", secret="guess")),
        "no signature": (401, good, {k: v for k, v in signed(good, "r2").items() if "Signature" not in k}),
        "nothing at all": (401, good, {}),
        "another body": (401, good + b" ", signed(good, "r3")),
        "another delivery id": (401, good, {**moved, "X-MLflow-Delivery-Id": "other"}),
        "another time": (401, good, {**moved, "X-MLflow-Timestamp": str(int(time.time()) - 1)}),
        "no time": (401, good, {**moved, "X-MLflow-Timestamp": "now"}),
        "another signature version": (
            401,
            good,
            {**moved, "X-MLflow-Signature": "v2" + moved["X-MLflow-Signature"][2:]},
        ),
        "no base64": (401, good, {**moved, "X-MLflow-Signature": "v1,é".encode("latin-1")}),  # type: ignore[dict-item]
        "too old": (401, good, signed(good, "r4", age=700)),
        "from the future": (401, good, signed(good, "r5", age=-120)),
        "not JSON": (400, b"{", signed(b"{", "r6")),
        "not UTF-8": (400, b"\xff", signed(b"\xff", "r7")),
        "no object": (400, b"[]", signed(b"[]", "r8")),
        "without a name": (400, b'{"data": {}}', signed(b'{"data": {}}', "r9")),
        "another model": (404, body("other"), signed(body("other"), "r10")),
        "MLflow's test": (200, body("example_model"), signed(body("example_model"), "r11")),
        "another thing": (200, body(name, entity="prompt"), signed(body(name, entity="prompt"), "r12")),
        **{
            f"an odd {what}, {value!r}": (
                400,
                body(name, **{what: value}),
                signed(body(name, **{what: value}), f"odd-{what}-{number}"),
            )
            for what in ("entity", "action")
            for number, value in enumerate(ODD)
        },
        "too large": (413, b" " * 70_000, signed(b" " * 70_000, "r13")),
    }


@pytest.mark.parametrize("case", refusals(""))
def test_a_refused_webhook_changes_nothing(loop: Loop, case: str) -> None:
    status, content, headers = refusals(loop.model.name)[case]
    before = len(loop.sink.events), loop.deliveries(), loop.cluster.isvc(loop.model.name), loop.model.aliases
    response = loop.webhook(content, **headers)
    assert response.status_code == status, response.text
    assert len(response.text.splitlines()) == 1
    after = len(loop.sink.events), loop.deliveries(), loop.cluster.isvc(loop.model.name), loop.model.aliases
    assert before == after


def test_a_webhook_comes_by_post(loop: Loop) -> None:
    response = loop.webhook(b"", "GET")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert httpx2.get(loop.function.server.url, timeout=30).status_code == 405


def test_a_delivery_is_taken_once(loop: Loop) -> None:
    content = body(loop.model.name)
    headers = signed(content, "once", age=400)
    sent = len(loop.sink.events)
    response = loop.webhook(content, **headers)
    assert (response.status_code, response.content) == (202, b"")
    second = loop.webhook(content, **headers)
    assert (second.status_code, second.text) == (409, "this delivery was accepted before\n")
    assert len(loop.sink.events) == sent + 1
    event = loop.sink.events[-1]
    assert (event["ce-type"], event["data"]) == (ROLLOUT_REQUESTED, {"delivery": "once"})


def test_what_was_signed_before_the_secret_was_rotated_is_taken(loop: Loop) -> None:
    content = body(loop.model.name)
    assert loop.webhook(content, **signed(content, "before", secret=PREVIOUS)).status_code == 202


def test_mlflow_is_told_to_try_again_while_the_sink_is_away(loop: Loop) -> None:
    content = body(loop.model.name)
    headers = signed(content, "away")
    loop.sink.status = 503
    try:
        assert loop.webhook(content, **headers).status_code == 503
    finally:
        loop.sink.status = 202
    assert loop.webhook(content, **headers).status_code == 202, "it was not noted before"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("outcome", ["promoted", "rolled back"])
def test_killed_anywhere_it_comes_to_the_same_end(loop: Loop, outcome: str, seed: int) -> None:
    """kill -9 at random moments of a rollout: the same aliases, tags and traffic, each event told."""
    random_ = random.Random(f"{outcome} {seed}")
    champion, version = loop.model.aliases["champion"], loop.model.add()
    loop.model.alias("challenger", version)
    first, kinds = len(loop.sink.events), {"failing": (version,)} if outcome == "rolled back" else {}
    for _ in range(3):
        looking = threading.Thread(target=lambda: suppressed(loop))
        looking.start()
        time.sleep(random_.uniform(0.005, 0.6))
        loop.function.kill()
        looking.join()
        loop.feed(**kinds)
        loop.function.start()
    last = version if outcome == "promoted" else champion

    def over() -> bool:
        suppressed(loop)
        loop.feed(**kinds)
        return loop.phase() == "idle" and "rollout" in loop.model.tags(version)

    until(over, 60)
    assert loop.model.aliases["champion"] == last
    assert loop.cluster.traffic(loop.model.name) == {last: 100}
    if outcome == "promoted":
        assert loop.model.aliases == {"champion": version, "previous_champion": champion}
        assert loop.model.tags(version)["rollout"] == f"promoted over {champion}"
        wanted = ["service.deployed", "service.upgraded"]
    else:
        assert loop.model.tags(version)["rollout"].startswith(
            f"rolled back from {champion} (analysis-failed by analysis): failed at 10%: failures"
        )
        wanted = ["service.deployed", "service.rolledback", "incident.detected"]
    announced = [
        e["ce-type"].split(".", 2)[2] for e in loop.sink.of("service", "incident") if e in loop.sink.events[first:]
    ]
    assert announced == [f"{name}.0.3.0" for name in wanted]


def suppressed(loop: Loop) -> None:
    with suppress(httpx2.TransportError):
        loop.function.tick()


def test_a_cold_start_imports_only_what_it_needs(loop: Loop) -> None:
    heavy = ("pandas", "torch", "kserve", "mlflow", "kfp", "scipy", "numpy", "kubernetes", "alembic")
    code = f"import sys; import functions.rollout.handler; print([m for m in {heavy!r} if m in sys.modules])"
    completed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(**loop.function.env),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (completed.returncode, completed.stdout) == (0, "[]\n"), completed.stderr
