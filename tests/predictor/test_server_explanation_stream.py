"""Explanations while they are written, from a real server: their events, refusals, and clients that leave."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from mcqa.event_stream import read_events
from predictor.serving.event_stream import HEARTBEAT_SECONDS
from tests.servers import EXPLAIN, QUESTION, RunningServer, running
from tests.versions import SPECIAL, make_version

pytestmark = pytest.mark.usefixtures("processes")

LONG = {"max_new_tokens": 100_000}


def body(*questions: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return {"instances": list(questions) or [QUESTION], "parameters": {"stream": True, **parameters}}


def events(server: RunningServer, asked: dict[str, Any], **headers: str) -> list[tuple[str, Any]]:
    with server.client.stream("POST", EXPLAIN, json=asked, headers=headers) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        return [(event.name, json.loads(event.data)) for event in read_events(response.iter_raw()) if event.name]


WRITES_ON = ("--dtype", "float32", "--max-new-tokens", "100000")


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that never ends its text: the logits of the tokens that would are 0, and another's is above."""
    folder = tmp_path_factory.mktemp("versions") / "endless-1"
    make_version(folder, layers=4, hidden=512, heads=8, max_positions=16384)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if "embed_tokens" in name or "lm_head" in name:
            tensor[: len(SPECIAL)] = 0
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def slow(endless: Path, processes: None) -> Iterator[RunningServer]:
    """One that writes for longer than any test here takes."""
    with running(endless, *WRITES_ON) as server:
        yield server


def test_the_pieces_are_the_explanation_that_is_sent_whole(server: RunningServer) -> None:
    asked = body({**QUESTION, "id": "q"}, max_new_tokens=40, debias="cyclic", purpose="test")
    sent = events(server, asked)
    asked["parameters"]["stream"] = False
    whole = server.post(EXPLAIN, asked).json()
    assert [name for name, _ in sent] == ["answer", *["text"] * (len(sent) - 2), "end"]
    assert len(sent) > 10, "in pieces"
    assert sent[-1][1] == whole
    (item,) = whole["explanations"]
    assert "".join(data["text"] for name, data in sent if name == "text") == item["explanation"]
    explained = ("explanation", "finish_reason", "completion_tokens")
    assert sent[0][1] == {name: value for name, value in item.items() if name not in explained}


def test_it_comes_while_it_is_written(slow: RunningServer) -> None:
    with slow.client.stream("POST", EXPLAIN, json=body(**LONG)) as response:
        stream = read_events(response.iter_raw())
        assert [next(stream).name for _ in range(3)] == ["answer", "text", "text"]
        assert slow.metric("mcqa_requests_in_flight") == 1
        headers = response.headers
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        assert headers["x-model-version"] == "endless-1"
        # Questions go first.
        assert slow.ask(QUESTION).status_code == 200
        assert next(stream).name == "text"


def test_a_client_that_leaves_frees_the_model(slow: RunningServer) -> None:
    left = slow.metric("mcqa_requests_total", method="explain", status="499")
    slow.wait_for(lambda: slow.metric("mcqa_requests_in_flight") == 0)
    with slow.client.stream("POST", EXPLAIN, json=body(**LONG)) as first:
        writing = read_events(first.iter_raw())  # kept: httpx closes a response whose iterator is gone
        assert [next(writing).name for _ in range(2)] == ["answer", "text"]
        with slow.client.stream("POST", EXPLAIN, json=body(**LONG)) as waiting:
            names = [event.name for event, _ in zip(read_events(waiting.iter_raw()), range(2), strict=False)]
            assert names == ["answer", ""], "behind the first one it gets comments"
    slow.wait_for(lambda: slow.metric("mcqa_requests_total", method="explain", status="499") == left + 2)
    # Its turn comes at once, or this one would wait for the others' 100,000 tokens.
    assert slow.post(EXPLAIN, body(stream=False, max_new_tokens=2)).status_code == 200
    slow.wait_for(lambda: slow.metric("mcqa_requests_in_flight") == 0)


@pytest.mark.parametrize(
    ("asked", "status", "error"),
    [
        (body(QUESTION, QUESTION), 400, "parameters: stream: explains one question, found 2 in instances"),
        (body({"question": "x", "choices": ["a", "a"]}), 400, "question 0: choices: A and B are the same text"),
        (body(stream="yes"), 400, "parameters: stream: must be true or false"),
        (body(stream=1), 400, "parameters: stream: must be true or false"),
        (body(stream=None), 400, "parameters: stream: must be true or false"),
        (body(max_new_tokens=0), 400, "parameters: max_new_tokens: must be a whole number from 1 to 512"),
        (body({**QUESTION, "code": "word " * 3000}), 400, None),
    ],
)
def test_what_is_refused_is_refused_before_the_stream(
    server: RunningServer, asked: dict[str, Any], status: int, error: str | None
) -> None:
    response = server.post(EXPLAIN, asked)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    assert error in (None, response.json()["error"])


def test_no_stream_of_answers_nor_for_another_model_nor_of_a_cloudevent(server: RunningServer) -> None:
    assert server.ask(QUESTION, stream=True).json()["error"].startswith("parameters: 'stream' is not known")
    assert server.post(EXPLAIN.replace("coding-mcqa", "other"), body()).status_code == 404
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/test", "ce-type": "ask"}
    response = server.client.post(EXPLAIN, json=body(), headers=event)
    assert (response.status_code, "a CloudEvent is answered with one" in response.json()["error"]) == (400, True)


def test_a_deadline_in_the_middle_is_the_last_event(slow: RunningServer) -> None:
    before = slow.metric("mcqa_requests_total", method="explain", status="504")
    sent = events(slow, body(**LONG), prefer="wait=1")
    assert [name for name, _ in sent[:2]] == ["answer", "text"]
    assert sent[-1] == ("error", {"error": "the request was not answered within its time", "status": 504})
    assert slow.metric("mcqa_requests_total", method="explain", status="504") == before + 1
    assert slow.lines("request")[-1]["cause"] == "deadline"


def test_a_deadline_before_the_stream_is_a_status(server: RunningServer) -> None:
    response = server.client.post(EXPLAIN, json=body(), headers={"prefer": "wait=0"})
    assert (response.status_code in (408, 504), list(response.json())) == (True, ["error"])


def test_a_server_that_stops_finishes_what_it_writes_or_says_that_it_does_not(endless: Path) -> None:
    with running(endless, *WRITES_ON, "--grace-period", "1") as server:
        with server.client.stream("POST", EXPLAIN, json=body(**LONG)) as response:
            stream = read_events(response.iter_raw())
            next(stream)
            server.signal(signal.SIGTERM)
            last = list(stream)[-1]
        assert last.name == "error"
        assert json.loads(last.data) == {"error": "the server is stopping", "status": 503}
        assert server.process.wait(20) == 1


def test_a_client_of_http_1_0_reads_to_the_end(server: RunningServer) -> None:
    data = json.dumps(body(max_new_tokens=3)).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"POST %s HTTP/1.0\r\ncontent-length: %d\r\n\r\n%s" % (EXPLAIN.encode(), len(data), data))
        raw = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    assert [event.name for event in read_events([rest])][-1] == "end"


def test_who_waits_is_sent_something_more_often_than_anything_in_between_gives_up() -> None:
    assert HEARTBEAT_SECONDS < 15
