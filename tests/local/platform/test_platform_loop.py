"""The whole platform as `mcqa up` starts it: every part real, asked as users ask it, killed, taken over, ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import pytest

from local.platform import listeners
from local.platform.settings import HOST, Folder, write_json
from mcqa import loop, loop_process

ROOT = Path(__file__).resolve().parents[3]
PORTS = ("--port", "--api-port", "--broker-port", "--mlflow-port", "--pipelines-port", "--ui-port", "--internal-port")
QUESTION = {"question": "What is 2 + 3?", "choices": ["4", "5", "6"]}
pytestmark = pytest.mark.timeout(600)


def mcqa(folder: Folder, *arguments: Any, code: int = 0) -> Any:
    command = [sys.executable, "-m", "mcqa", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "MCQA_LOCAL_DIR": str(folder.path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, (arguments, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout + done.stderr


def until(true: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := true():
                return value
        except (httpx2.TransportError, sqlite3.OperationalError):
            pass
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Any]:
    """The platform, up, with a tick each 2 s."""
    folder = Folder(tmp_path_factory.mktemp("platform"))
    ticks = [option for name in ("drift", "rollout", "retrain") for option in ("--schedule", f"{name}=@every 2s")]
    output = mcqa(folder, "up", *(part for flag in PORTS for part in (flag, "0")), *ticks)
    assert "✓ model server" in output
    yield folder
    mcqa(folder, "down")
    alive = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder.path).encode() in _read(path)]
    assert not alive, "processes are left"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def kill_supervisor(folder: Folder) -> None:
    pid = folder.running()
    assert pid
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def ports(folder: Folder) -> Any:
    return folder.settings().ports


@pytest.fixture
def gateway(ports: Any) -> str:
    return f"http://{HOST}:{ports.gateway}"


def rows(folder: Folder, query: str, *values: Any) -> Any:
    with sqlite3.connect(folder.database, timeout=10) as connection:
        return connection.execute(query, values).fetchall()


def ask(gateway: Any, **headers: Any) -> Any:
    body = {"instances": [QUESTION]}
    return httpx2.post(f"{gateway}/v1/models/coding-mcqa:predict", json=body, headers=headers, timeout=60)


def say(folder: Folder, name: str, answer: Any) -> Any:
    """Feedback to the broker; whether it was acknowledged."""
    sink = json.loads(folder.environment.read_text())["K_SINK"]
    headers = {
        "ce-specversion": "1.0",
        "ce-id": f"{name}-feedback",
        "ce-source": "/test",
        "ce-type": "dev.cdeventsx.mcqa-answer.feedback",
    }
    return httpx2.post(sink, json={"answer_id": name, "answer": answer}, headers=headers, timeout=10).status_code == 202


def test_everything_is_up_and_says_so(folder: Folder) -> None:
    output = mcqa(folder, "status")
    for name in ("broker", "mlflow", "pipelines", "coding-mcqa", "collect", "drift", "rollout", "retrain", "notify"):
        assert name in output
    assert "champion 1" in output
    current = json.loads(mcqa(folder, "status", "--json"))
    assert current["problems"] == []
    assert "already" in mcqa(folder, "up")


def test_a_new_loop_begins_without_a_fault(folder: Folder) -> None:
    """Its first version is registered before its InferenceService is there."""
    until(lambda: json.loads(mcqa(folder, "rollout", "status", "--json"))["since"] is not None)
    facts = json.loads(mcqa(folder, "rollout", "status", "--json", "--decisions", "50"))
    assert facts["since"]["decision"]["champion"] == "1"
    assert {row["phase"] for row in facts["decisions"]} <= {"deploying", "idle"}
    assert [row["reason_code"] for row in facts["decisions"]].count("nothing-deployed") <= 1


def test_the_page_is_a_part_of_the_loop(folder: Folder, ports: Any) -> None:
    address = f"http://{HOST}:{ports.ui}"
    output = mcqa(folder, "ui", "--no-browser")
    assert output.splitlines()[-1] == address
    assert address in mcqa(folder, "up")

    def page() -> Any:
        (part,) = (part for part in loop_process.read_status(folder)["parts"] if part["name"] == "ui")
        return part

    killed = page()["pid"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: page()["restarts"] == 1 and page()["state"] == "ready" and page()["pid"] != killed)
    assert httpx2.get(f"{address}/_stcore/health", timeout=10).text == "ok"
    assert address in mcqa(folder, "logs", "ui")
    assert json.loads(mcqa(folder, "status", "--json"))["problems"] == []


def test_a_question_and_its_feedback_reach_the_database(folder: Folder, gateway: Any) -> None:
    name = str(uuid.uuid4())
    answer = ask(gateway, **{"ce-id": name})
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["model_version"] == "1"
    assert say(folder, name, 1)
    until(lambda: rows(folder, "SELECT 1 FROM feedback WHERE answer_id = ?", name))
    until(lambda: rows(folder, "SELECT 1 FROM answers WHERE id = ? AND version = '1'", name))
    named = httpx2.get(gateway, headers={"host": "coding-mcqa.coding-mcqa.localhost"}, timeout=10)
    assert named.status_code != 503
    tensor = [
        {"name": "question", "shape": [1], "datatype": "BYTES", "data": [QUESTION["question"]]},
        {"name": "choices", "shape": [1, 3], "datatype": "BYTES", "data": QUESTION["choices"]},
    ]
    second = httpx2.post(f"{gateway}/v2/models/coding-mcqa/infer", json={"inputs": tensor}, timeout=60)
    assert second.json()["model_version"] == "1"


def test_test_traffic_is_marked_from_the_gateway_to_the_database(folder: Folder, gateway: Any) -> None:
    name = str(uuid.uuid4())
    body = {"instances": [QUESTION], "parameters": {"purpose": "test"}}
    headers = {"ce-id": name}
    assert httpx2.post(f"{gateway}/v1/models/coding-mcqa:predict", json=body, headers=headers, timeout=60).is_success
    for table in ("requests", "answers"):
        assert until(lambda table=table: rows(folder, f"SELECT purpose FROM {table} WHERE id = ?", name)) == [("test",)]


def test_ask_and_feedback_from_the_command_line(folder: Folder, gateway: Any) -> None:
    output = mcqa(folder, "ask", "--random", "--seed", "3", "--url", gateway)
    name = output.split("feedback ")[1].split()[0]
    assert "C was right" in mcqa(folder, "feedback", name, "c")
    assert until(lambda: rows(folder, "SELECT letter FROM feedback WHERE answer_id = ?", name)) == [("C",)]
    assert "must be one letter" in mcqa(folder, "feedback", name, "42", code=2)


def test_every_verb_speaks_to_the_loop_of_the_folder(folder: Folder, gateway: Any) -> None:
    output = mcqa(folder, "ask", "--random", "--seed", "3")
    assert f"{gateway}, the loop in" in output
    name = output.split("feedback ")[1].split()[0]
    assert f"the loop in {folder.path}" in mcqa(folder, "feedback", name, "c")
    for verb in (["drift", "status"], ["rollout", "status"], ["pipeline", "list"], ["events", "-n", "1"], ["status"]):
        assert f"the loop in {folder.path}" in mcqa(folder, *verb)


def test_an_older_loop_says_so(folder: Folder) -> None:
    assert "older code" not in mcqa(folder, "status")
    before = loop_process.read_status(folder)

    def warning() -> str:
        write_json(folder.status, {**before, "code": "of yesterday"})  # until the supervisor has something new to tell
        output: str = mcqa(folder, "up")
        return output if "older code" in output else ""

    shown = until(warning)
    assert "runs older code than this checkout has now" in shown
    assert f"up --restart --dir {folder.path}" in shown
    write_json(folder.status, before)


def test_kubectl_sees_the_loop(folder: Folder) -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    environment = {"KUBECONFIG": str(folder.kubeconfig), "PATH": os.environ["PATH"], "HOME": str(folder.path)}

    def kubectl(*arguments: Any) -> Any:
        return subprocess.run(
            [program, *arguments], env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    lines = kubectl("get", "isvc,ksvc,brokers,triggers,pingsources", "--no-headers").splitlines()
    # Not ready only: what has nothing to do is scaled to zero and ready all the same.
    assert [line for line in lines if line.strip() and "True" not in line] == []
    assert "Subscriber Uri:" in kubectl("describe", "trigger", "collect")
    patched = kubectl("patch", "pingsource", "drift", "--type=merge", "-p", '{"spec":{"schedule":"@every 3s"}}')
    assert "patched" in patched


@pytest.mark.filterwarnings("ignore:This client only works with Kubeflow Pipeline:FutureWarning")
def test_the_pipeline_is_there_for_kfps_own_client(folder: Folder, ports: Any) -> None:
    kfp = pytest.importorskip("kfp")
    # As in a pod of a Kubeflow of many users; the loop's environment names the file.
    path = json.loads(folder.environment.read_text())[kfp.client.KF_PIPELINES_SA_TOKEN_ENV]
    credentials = kfp.client.ServiceAccountTokenVolumeCredentials(path)
    client = kfp.Client(host=f"http://{HOST}:{ports.pipelines}", credentials=credentials)
    names = [pipeline.display_name for pipeline in client.list_pipelines().pipelines]
    assert names == ["coding-mcqa-retraining"]


def test_only_the_owner_is_let_in(folder: Folder, ports: Any) -> None:
    for path in (folder.broker_token, folder.pipelines_token, folder.path / "kube" / "token"):
        assert path.stat().st_mode & 0o777 == 0o600
    for url in (f"http://{HOST}:{ports.broker}/-/events", f"http://{HOST}:{ports.pipelines}/apis/v2beta1/runs"):
        assert httpx2.get(url, timeout=10).status_code == 401
    for port in (ports.broker, ports.mlflow, ports.pipelines):
        assert httpx2.get(f"http://{HOST}:{port}/", headers={"Host": "evil.example"}, timeout=10).status_code == 403
    link = loop.pipelines_link(folder)
    assert link in mcqa(folder, "up")
    with httpx2.Client(follow_redirects=True, timeout=10) as browser:
        assert "Pipeline runs" in browser.get(link).text
        assert browser.get(f"http://{HOST}:{ports.pipelines}/apis/v2beta1/runs").status_code == 200
    # The functions are told as on a cluster of many users: by a file.
    url = f"https://{HOST}:{ports.api}/api/v1/namespaces/coding-mcqa/configmaps/loop"
    headers = {"Authorization": f"Bearer {loop.token(folder.path / 'kube' / 'token')}"}
    config = httpx2.get(url, headers=headers, verify=False, timeout=10).json()["data"]
    assert config["MCQA_KFP_TOKEN_PATH"] == str(folder.pipelines_token)


def test_mlflow_takes_traces(ports: Any) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult

    url = f"http://{HOST}:{ports.mlflow}"
    response = httpx2.get(
        f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=coding-mcqa", timeout=10
    ).json()
    headers = {"x-mlflow-experiment-id": response["experiment"]["experiment_id"]}
    exporter = OTLPSpanExporter(f"{url}/v1/traces", headers=headers)
    with TracerProvider().get_tracer("test").start_as_current_span("click") as span:
        pass
    assert isinstance(span, ReadableSpan)
    assert exporter.export([span]) is SpanExportResult.SUCCESS


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"X-MLflow-Signature": "v1,AAAA", "X-MLflow-Delivery-Id": "1", "X-MLflow-Timestamp": "1"}, 401)],
)
def test_an_unsigned_webhook_is_refused_at_the_gateway(ports: Any, gateway: Any, headers: Any, status: Any) -> None:
    path = "/-/services/coding-mcqa/rollout/mlflow"
    url = f"http://{HOST}:{ports.internal}{path}"
    assert httpx2.post(url, json={"entity": "x"}, headers=headers, timeout=60).status_code == status
    outer = httpx2.post(gateway + path, json={"entity": "x"}, headers=headers, timeout=60)
    assert outer.status_code == 404, "functions are cluster-local"


def test_events_and_logs(folder: Folder) -> None:
    assert "dev.knative.sources.ping" in mcqa(folder, "events", "-n", "50")
    (first,) = [json.loads(line) for line in mcqa(folder, "events", "-n", "1", "--json").splitlines()]
    assert json.loads(mcqa(folder, "events", str(first["seq"])))["deliveries"]
    assert "collect" in mcqa(folder, "logs")
    assert '"function": "rollout"' in mcqa(folder, "logs", "rollout")
    assert "no log of 'nonsense'" in mcqa(folder, "logs", "nonsense", code=1)


def test_a_poison_event_becomes_a_dead_letter_and_can_be_replayed(folder: Folder) -> None:
    sink = json.loads(folder.environment.read_text())["K_SINK"]
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "poison",
        "ce-source": "/test",
        "ce-type": "dev.cdeventsx.mcqa-answer.feedback",
    }
    assert httpx2.post(sink, content=b"{", headers=headers, timeout=10).status_code == 202
    until(lambda: rows(folder, "SELECT 1 FROM dead_letters WHERE id = 'poison'"))
    listed = json.loads(mcqa(folder, "dead-letters", "list", "--json").splitlines()[0])
    assert (listed["code"], listed["id"], listed["state"]) == (400, "poison", "open")
    name = listed["name"]
    assert "poison" in mcqa(folder, "dead-letters", "show", name)
    assert "1 of 1 came back" in mcqa(folder, "dead-letters", "replay", name, "--wait", "60", code=1)
    assert "1 dead letter" in mcqa(folder, "status", code=1)
    assert f"{name} is discarded" in mcqa(folder, "dead-letters", "discard", name)
    assert "nothing to discard" in mcqa(folder, "dead-letters", "discard", name)
    assert "no dead letters" in mcqa(folder, "dead-letters", "list")
    assert "dead letter" not in mcqa(folder, "status")
    assert json.loads(mcqa(folder, "dead-letters", "list", "--all", "--json").splitlines()[0])["state"] == "discarded"


@pytest.mark.parametrize("victim", ["broker", "gateway", "mlflow", "pipelines"])
def test_a_killed_part_comes_back(folder: Folder, victim: Any) -> None:
    (part,) = [p for p in loop_process.read_status(folder)["parts"] if p["name"] == victim]
    os.kill(part["pid"], signal.SIGKILL)

    def back() -> Any:
        (now,) = [p for p in loop_process.read_status(folder)["parts"] if p["name"] == victim]
        return now["state"] == "ready" and now["pid"] != part["pid"]

    until(back, 120)


def test_a_killed_model_server_comes_back(folder: Folder, gateway: Any) -> None:
    assert ask(gateway).status_code == 200  # it may sleep since the last question

    def awake() -> Any:
        revisions = loop_process.read_status(folder)["revisions"]
        return [r for r in revisions if "-predictor-" in r["revision"] and r["pids"]]

    until(awake)
    (pod,) = awake()
    os.killpg(pod["pids"][0], signal.SIGKILL)
    until(lambda: ask(gateway).status_code == 200)


def test_a_killed_supervisor_is_taken_over(folder: Folder, gateway: Any) -> None:
    before = loop_process.read_status(folder)
    name = str(uuid.uuid4())
    assert say(folder, name, 0)
    kill_supervisor(folder)
    until(lambda: folder.running() is None)
    assert "not running" in mcqa(folder, "status", code=1)
    mcqa(folder, "up")
    after = loop_process.read_status(folder)
    assert {p["name"]: p["pid"] for p in after["parts"]} == {p["name"]: p["pid"] for p in before["parts"]}
    assert ask(gateway).status_code == 200
    until(lambda: rows(folder, "SELECT 1 FROM feedback WHERE answer_id = ?", name))


def test_a_second_supervisor_is_refused(folder: Folder) -> None:
    command = [sys.executable, "-m", "local.platform", "--dir", str(folder.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"is in use by process {folder.running()}" in done.stderr


def test_a_taken_port_is_named(tmp_path: Path, folder: Folder, ports: Any) -> None:
    other = Folder(tmp_path / "other")
    output = mcqa(other, "up", "--port", str(ports.gateway), code=1)
    assert f"--port {ports.gateway} is in use" in output
    assert f"up --dir {other.path} --port" in output
    if listeners.is_supported():
        assert f"the loop in {folder.path} (process" in output
    assert not (other.path / "settings.json").exists(), "the next start would want it again"
    every = [word for flag, port in zip(PORTS, asdict(ports).values(), strict=True) for word in (flag, str(port))]
    output = mcqa(other, "up", *every, code=1)
    assert all(f"{flag} {port} is in use" in output for flag, port in zip(PORTS, asdict(ports).values(), strict=True))


def test_down_ends_what_a_killed_supervisor_left(folder: Folder) -> None:
    kill_supervisor(folder)
    until(lambda: folder.running() is None)
    assert f"the loop in {folder.path} is down" in mcqa(folder, "down")
    assert "no loop was running" in mcqa(folder, "down")
