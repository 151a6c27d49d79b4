"""A server with more work than it can do: refusing, giving up, making room, and stopping in order."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.servers import EXPLAIN, INFER, PREDICT, QUESTION, ROOT, RunningServer, running, tensors

pytestmark = pytest.mark.usefixtures("processes")

SLOW = ("--dtype", "float32", "--batch-tokens", "64")


def long_question(words: int = 40) -> dict[str, Any]:
    """Some 8 tokens a word: a question that keeps the slow version busy for a noticeable time."""
    return {"question": "x + y = z? " * words, "choices": ["yes", "no"]}


def asked(question: dict[str, Any], times: int) -> dict[str, Any]:
    return {"instances": [question] * times}


def post(server: RunningServer, path: str, body: Any, **headers: str) -> httpx2.Response:
    return httpx2.post(server.url + path, json=body, headers=headers, timeout=120)


def connect(server: RunningServer, body: Any) -> socket.socket:
    """A v1 request whose connection is in the test's hands."""
    data = json.dumps(body).encode()
    sock = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: test\r\ncontent-length: {len(data)}\r\n\r\n"
    sock.sendall(head.encode() + data)
    return sock


def message(*questions: dict[str, Any]) -> Any:
    request = pb.ModelInferRequest(model_name="coding-mcqa")
    for tensor in tensors(*questions):
        item = request.inputs.add(name=tensor["name"], datatype="BYTES", shape=tensor["shape"])
        item.contents.bytes_contents.extend(text.encode() for text in tensor["data"])
    return request


@contextlib.contextmanager
def grpc_call(server: RunningServer) -> Iterator[grpc.UnaryUnaryMultiCallable]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )


def infer(server: RunningServer, *questions: dict[str, Any], timeout: float = 120) -> Any:
    with grpc_call(server) as call:
        return call(message(*questions), timeout=timeout)


@pytest.fixture(scope="module")
def slow(slow_version: Path, processes: None) -> Iterator[RunningServer]:
    with running(slow_version, *SLOW, "--queue-size", "16", "--max-questions", "16") as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.fixture
def busy(slow: RunningServer, processes: None) -> Iterator[socket.socket]:
    """The model is at work on twelve long questions, until the test is over or the connection closed."""
    idle(slow)
    sock = connect(slow, asked(long_question(), 12))
    slow.wait_for(lambda: 0 < slow.metric("mcqa_queue_questions") < 12)
    yield sock
    sock.close()
    idle(slow)


def idle(server: RunningServer) -> None:
    server.wait_for(lambda: server.metric("mcqa_requests_in_flight") == 0)


def test_a_full_queue_is_503_with_the_time_to_wait(slow: RunningServer, busy: socket.socket) -> None:
    refused = post(slow, PREDICT, asked(QUESTION, 16))
    assert refused.status_code == 503
    seconds = int(refused.headers["retry-after"])
    assert 1 <= seconds <= 60
    assert refused.json() == {"error": f"the queue is full; try again in {seconds} s"}
    assert post(slow, INFER, {"inputs": tensors(*[QUESTION] * 16)}).status_code == 503
    assert slow.metric("mcqa_errors_total", cause="queue_full") >= 2


def test_a_full_queue_is_resource_exhausted_with_a_push_back(slow: RunningServer, busy: socket.socket) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        infer(slow, *[QUESTION] * 16)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(refused.value.trailing_metadata())["grpc-retry-pushback-ms"]) >= 1000


def test_a_small_request_overtakes_a_large_one(slow: RunningServer, busy: socket.socket) -> None:
    assert post(slow, PREDICT, asked(QUESTION, 1)).status_code == 200
    assert slow.metric("mcqa_queue_questions") > 0


@pytest.mark.parametrize("header", [{"Prefer": "respond-async, wait=1"}, {"X-Envoy-Expected-Rq-Timeout-Ms": "1000"}])
def test_a_client_may_ask_for_less_time(slow: RunningServer, busy: socket.socket, header: dict[str, str]) -> None:
    dropped = slow.metric("mcqa_questions_dropped_total")
    late = post(slow, PREDICT, asked(long_question(400), 4), **header)
    assert (late.status_code, late.json()) == (504, {"error": "the request was not answered within its time"})
    slow.wait_for(lambda: slow.metric("mcqa_questions_dropped_total") > dropped)


def test_tritons_timeout_parameter_is_microseconds(slow: RunningServer, busy: socket.socket) -> None:
    body = {"inputs": tensors(long_question(400)), "parameters": {"timeout": 100_000}}
    assert post(slow, INFER, body).status_code == 504


def test_the_deadline_of_a_grpc_call_frees_its_place(slow: RunningServer, busy: socket.socket) -> None:
    before = slow.metric("mcqa_requests_total", protocol="grpc", status="DEADLINE_EXCEEDED")
    with pytest.raises(grpc.RpcError) as late:
        infer(slow, long_question(400), timeout=0.5)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    slow.wait_for(lambda: slow.metric("mcqa_requests_total", protocol="grpc", status="DEADLINE_EXCEEDED") == before + 1)


def test_the_servers_own_limit(slow_version: Path) -> None:
    with running(slow_version, *SLOW, "--request-timeout", "0.2", "--max-tokens", "8000") as server:
        assert post(server, PREDICT, asked(long_question(400), 8)).status_code == 504
        assert post(server, EXPLAIN, asked(long_question(400), 1)).status_code == 504
        with pytest.raises(grpc.RpcError) as late:
            infer(server, long_question(900))
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        idle(server)
        assert server.client.get("/v2/health/ready").status_code == 200


def test_a_client_that_leaves_releases_its_work(slow: RunningServer, busy: socket.socket) -> None:
    gone, dropped = slow.metric("mcqa_requests_total", status="499"), slow.metric("mcqa_questions_dropped_total")
    leaving = connect(slow, asked(long_question(20), 3))
    slow.wait_for(lambda: slow.metric("mcqa_requests_in_flight") == 2)
    leaving.close()
    busy.close()
    idle(slow)
    assert slow.metric("mcqa_requests_total", status="499") == gone + 2
    assert slow.metric("mcqa_questions_dropped_total") > dropped
    assert (slow.metric("mcqa_queue_questions"), slow.metric("mcqa_queue_tokens")) == (0, 0)


def test_a_cancelled_grpc_call_releases_its_work(slow: RunningServer, busy: socket.socket) -> None:
    before = slow.metric("mcqa_requests_total", protocol="grpc", status="CANCELLED")
    with grpc_call(slow) as call:
        future = call.future(message(long_question(400)))
        slow.wait_for(lambda: slow.metric("mcqa_requests_in_flight") == 2)
        future.cancel()
        slow.wait_for(lambda: slow.metric("mcqa_requests_total", protocol="grpc", status="CANCELLED") == before + 1)


def test_an_explanation_ends_when_its_client_leaves(slow: RunningServer) -> None:
    idle(slow)
    written = slow.metric("mcqa_tokens_total", kind="completion")
    body = {"instances": [QUESTION] * 16, "parameters": {"max_new_tokens": 512}}
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(slow.url + EXPLAIN, json=body, timeout=1)
    idle(slow)
    assert post(slow, PREDICT, asked(QUESTION, 1)).status_code == 200
    assert slow.metric("mcqa_tokens_total", kind="completion") == written


def test_a_body_that_does_not_arrive_is_not_waited_for(slow: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", slow.port)) as sock:
        head = f"POST {PREDICT} HTTP/1.1\r\nhost: test\r\nprefer: wait=1\r\ncontent-length: 100\r\n\r\n{{"
        sock.sendall(head.encode())
        sock.settimeout(20)
        assert sock.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_the_event_loop_answers_while_the_model_works(slow: RunningServer, busy: socket.socket) -> None:
    answered = [httpx2.get(slow.url + "/v2/health/ready", timeout=10).status_code for _ in range(10)]
    assert answered == [200] * 10
    assert slow.metric("mcqa_requests_in_flight") == 1


def test_sigterm_finishes_what_was_accepted_and_refuses_the_rest(slow_version: Path, pool: ThreadPoolExecutor) -> None:
    with running(slow_version, *SLOW, "--grace-period", "120") as server:
        keeping = httpx2.Client(base_url=server.url, timeout=60)
        assert keeping.get("/v2/models/coding-mcqa/ready").status_code == 200
        accepted = [pool.submit(post, server, PREDICT, asked(long_question(), 4)) for _ in range(3)]
        over_grpc = pool.submit(infer, server, long_question())
        server.wait_for(lambda: server.metric("mcqa_requests_in_flight") == 4)
        server.signal(signal.SIGTERM)
        server.wait_for(lambda: keeping.get("/v2/models/coding-mcqa/ready").status_code == 503)
        for path in ("/v2/health/ready", "/v1/models/coding-mcqa"):
            response = keeping.get(path)
            assert (response.status_code, list(response.json())) == (503, ["error"])
        assert keeping.get("/v2/health/live").status_code == 200
        refused = keeping.post(PREDICT, json={"instances": [QUESTION]})
        assert (refused.status_code, refused.json()) == (503, {"error": "the server is stopping"})
        assert refused.headers["connection"] == "close"
        with pytest.raises(grpc.RpcError) as unavailable:
            infer(server, QUESTION)
        assert unavailable.value.code() is grpc.StatusCode.UNAVAILABLE
        assert [future.result().status_code for future in accepted] == [200, 200, 200]
        assert all(len(future.result().json()["predictions"]) == 4 for future in accepted)
        assert over_grpc.result().model_version == "slow-1"
        assert server.process.wait(60) == 0
        assert server.lines("stopped")


def test_the_grace_period_is_the_end(slow_version: Path, pool: ThreadPoolExecutor) -> None:
    with running(slow_version, *SLOW, "--grace-period", "0.5") as server:
        accepted = pool.submit(post, server, PREDICT, asked(long_question(400), 40))
        server.wait_for(lambda: server.metric("mcqa_requests_in_flight") == 1)
        server.signal(signal.SIGTERM)
        assert server.process.wait(30) == 1
        assert accepted.result().status_code == 503
        assert server.lines("stopped before all work was done")


def test_a_second_signal_does_not_wait(slow_version: Path) -> None:
    with running(slow_version, *SLOW) as server:
        waiting = connect(server, asked(long_question(400), 40))
        server.wait_for(lambda: server.metric("mcqa_requests_in_flight") == 1)
        server.signal(signal.SIGINT)
        server.wait_for(lambda: server.lines("stopping"))
        server.signal(signal.SIGINT)
        assert server.process.wait(30) == 1
        waiting.close()


def test_kill_and_start_again(random_version: Path) -> None:
    with running(random_version) as server:
        port = server.port
        server.process.kill()
        server.process.wait()
        command = [sys.executable, "-m", "predictor", "--model", str(random_version)]
        arguments = ["--http-port", str(port), "--grpc-port", str(server.grpc_port)]
        other = subprocess.Popen([*command, *arguments], cwd=ROOT, stderr=subprocess.DEVNULL)
        try:

            def answers() -> bool:
                try:
                    return httpx2.get(f"{server.url}/v2/health/ready").status_code == 200
                except httpx2.TransportError:
                    return False

            server.wait_for(answers, 60)
        finally:
            other.terminate()
            assert other.wait(30) == 0


def test_a_taken_port_is_told_in_one_line(server: RunningServer, random_version: Path) -> None:
    for taken in (("--http-port", str(server.port)), ("--grpc-port", str(server.grpc_port))):
        arguments = ["--model", str(random_version), "--http-port", "0", "--grpc-port", "0", *taken]
        ended = subprocess.run(
            [sys.executable, "-m", "predictor", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 1
        assert taken[1] in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("model", ["/no/such/folder", "hf://"])
def test_a_model_that_cannot_be_loaded_is_told_in_one_line(model: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "predictor", "--model", model, "--http-port", "0", "--grpc-port", "0"],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_dead_inference_thread_is_not_ready(random_version: Path, tmp_path: Path) -> None:
    """The thread is killed by a question that makes the scorer raise what no except clause expects."""
    wrapper = tmp_path / "serve.py"
    wrapper.write_text(
        "import sys\n"
        "from predictor.scorer import Scorer\n"
        "score = Scorer.score\n"
        "def deadly(self, prompts, debias=None):\n"
        "    if any('deadly' in p.question.stem for p in prompts):\n"
        "        raise SystemExit\n"
        "    if any('poison' in p.question.stem for p in prompts):\n"
        "        raise RuntimeError('a secret')\n"
        "    return score(self, prompts, debias)\n"
        "Scorer.score = deadly\n"
        "from predictor.__main__ import main\n"
        "sys.exit(main())\n"
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with running(random_version, command=(sys.executable, str(wrapper)), env={"PYTHONPATH": path}) as server:
        failed = server.ask(QUESTION, {**QUESTION, "question": "poison"})
        assert failed.status_code == 500
        error_id = failed.json()["error"].split()[2].rstrip(";")
        assert failed.json() == {"error": f"internal error {error_id}; see the server's log for this id"}
        [line] = server.lines("internal error")
        assert line["error_id"] == error_id
        assert "a secret" in line["traceback"]
        assert server.ask(QUESTION).status_code == 200
        died = server.ask({**QUESTION, "question": "deadly"})
        assert died.status_code == 503
        server.wait_for(lambda: server.client.get("/v2/health/ready").status_code == 503)
        assert server.client.get("/v2/models/coding-mcqa/ready").status_code == 503
        assert server.client.get("/v1/models/coding-mcqa").status_code == 503
        assert server.ask(QUESTION).status_code == 503
        assert server.metric("mcqa_ready") == 0
