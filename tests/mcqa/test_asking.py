"""One question from a page, to the real server with the tiny model, and what it says of every failure."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import insert

from common.question import Question
from functions.database import engine, transaction
from functions.migrate import migrate
from functions.rollout.tables import RolloutStatus
from local.platform.settings import Folder, Ports, Settings
from mcqa import asking, request_examples
from mcqa.asking import AskError

pytestmark = pytest.mark.usefixtures("processes")

QUESTION = Question("What does this code print?", ("1", "2", "3", "4"), code="print(len('ab'))", subject="strings")
HOSTILE = Question('It\'s "$HOME" `id` \\ and\n<b>ü</b>?', ("'; rm -rf x", "$(id)"), code='"""\n\\"')


def test_an_answer_says_what_gave_it(server: Any) -> None:
    answered = asking.ask({"MCQA_URL": server.url}, QUESTION)
    assert answered.answer.letter in "ABCD"
    assert answered.trace == answered.answer_id.replace("-", "")
    assert answered.card is not None
    assert (answered.card.title, answered.covered, answered.role) == ("tiny demonstration model", True, None)
    strange = asking.ask({"MCQA_URL": server.url}, Question("Who wrote Faust?", ("Goethe", "Schiller")))
    assert not strange.covered


def test_an_explanation_counts_as_a_test(server: Any) -> None:
    pieces: list[str] = []
    explained = asking.explain({"MCQA_URL": server.url}, QUESTION, tokens=8, on_text=pieces.append)
    assert explained.letter in "ABCD"
    assert (explained.tokens, explained.complete, explained.stopped) == (8, False, False)
    assert (len(pieces) > 1, "".join(pieces)) == (True, explained.text)


def test_a_stopped_explanation_is_what_was_written_until_then(server: Any) -> None:
    pieces: list[str] = []
    began = time.monotonic()
    explained = asking.explain(
        {"MCQA_URL": server.url}, QUESTION, tokens=512, on_text=pieces.append, stopped=lambda: len(pieces) > 2
    )
    assert (explained.text, explained.stopped, explained.complete) == ("".join(pieces[:3]), True, False)
    # The server has stopped, too: another question's explanation is not behind the rest of it.
    assert asking.explain({"MCQA_URL": server.url}, HOSTILE, tokens=2).tokens == 2
    assert time.monotonic() - began < 30


def test_the_role_is_what_the_rollout_function_saw_last(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/loop.db"
    environ = {"MCQA_DATABASE_URL": url}
    assert asking.role({}, "7") is None
    assert asking.role(environ, "7") is None
    made = engine(url)
    migrate(made)
    status = {"model": "coding-mcqa", "at": 1.0, "phase": "canary", "action": "wait", "reason": ""}
    with transaction(made) as connection:
        connection.execute(insert(RolloutStatus).values(**status, champion="7", challenger="8"))
    made.dispose()
    assert [asking.role(environ, version) for version in ("7", "8", "9")] == ["champion", "challenger", None]


def test_the_address_is_the_setting_or_the_loop_s_gateway(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.save(Settings(Ports(gateway=4711)))
    assert asking.address({}) is None
    assert asking.address({"MCQA_LOCAL_DIR": str(tmp_path)}) == "http://127.0.0.1:4711"
    both = {"MCQA_LOCAL_DIR": str(tmp_path), "MCQA_URL": "http://model/"}
    assert asking.address(both) == "http://model"
    assert asking.public_address({**both, "MCQA_PUBLIC_URL": "https://mcqa.example"}) == "https://mcqa.example"


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def answering(status: int, body: str, headers: Mapping[str, str]) -> Iterator[str]:
    class Handler(Quiet):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

    with serving(Handler) as url:
        yield url


@contextmanager
def dripping(first: bytes, piece: bytes) -> Iterator[str]:
    """A model server that is never silent for long, and never done."""

    class Handler(Quiet):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(first)
            end = time.monotonic() + 20
            with suppress(OSError):
                while time.monotonic() < end:
                    self.wfile.write(piece)
                    time.sleep(0.02)

    with serving(Handler) as url:
        yield url


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "headers", "code", "detail"),
    [
        (503, '{"error": "the queue is full"}', {"retry-after": "7"}, "busy", "the queue is full"),
        (504, '{"error": "too slow"}', {}, "deadline", "too slow"),
        (400, '{"error": "question 0: choices: is empty"}', {}, "invalid", "choices: is empty"),
        (413, '{"error": "too large"}', {}, "invalid", "too large"),
        (404, '{"error": "no such model"}', {}, "not-served", "no such model"),
        (500, '{"error": "internal error 12"}', {}, "failed", "internal error 12"),
        (200, "<html>", {}, "no-model-server", "did not answer with JSON"),
        (200, "{}", {}, "no-model-server", "without `predictions`"),
        (200, '{"predictions": [{}]}', {}, "no-model-server", ""),
        (200, '{"predictions": []}', {}, "no-model-server", ""),
        (200, '{"predictions": ["x"]}', {}, "no-model-server", ""),
    ],
)
def test_what_goes_wrong_has_a_code(status: int, body: str, headers: dict[str, str], code: str, detail: str) -> None:
    with answering(status, body, headers) as url, pytest.raises(AskError) as error:
        asking.ask({"MCQA_URL": url}, QUESTION)
    assert error.value.code == code
    assert detail in error.value.detail
    assert error.value.retry_after == (7.0 if headers else None)


ANSWER = {
    "letter": "A", "index": 0, "choice": "1", "probabilities": {"A": 0.6, "B": 0.4}, "confidence": 0.6, "margin": 0.2,
    "entropy": 0.7, "letter_mass": 1.0, "prompt_tokens": 9, "model_version": "7",
}  # fmt: skip


@pytest.mark.parametrize(
    ("events", "code", "detail"),
    [
        ([], "unreachable", "closed the connection"),
        ([("answer", ANSWER), ("text", {"text": "Be"})], "broken-off", "closed the connection"),
        ([("answer", ANSWER), ("error", {"error": "stopping", "status": 503})], "busy", "stopping"),
        ([("answer", ANSWER), ("error", {"error": "late", "status": 504})], "deadline", "late"),
        ([("answer", {"letter": "A"})], "no-model-server", ""),
        ([("answer", ANSWER), ("text", [])], "no-model-server", ""),
        ([("answer", ANSWER), ("end", {"explanations": []})], "no-model-server", ""),
        ([("answer", ANSWER), ("end", {"explanations": [{}]})], "no-model-server", "no end"),
        ([("answer", ANSWER), ("error", {})], "no-model-server", ""),
    ],
)
def test_a_stream_that_does_not_end_as_it_should(events: list[tuple[str, Any]], code: str, detail: str) -> None:
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    with answering(200, body, {"content-type": "text/event-stream"}) as url, pytest.raises(AskError) as error:
        asking.explain({"MCQA_URL": url}, QUESTION)
    assert (error.value.code, detail in error.value.detail) == (code, True)


TEXT = b'event: text\ndata: {"text": "Be"}\n\n'


@pytest.mark.parametrize("piece", [TEXT, b": still here\n\n", b"event: other\ndata: {}\n\n", b"x"])
def test_an_explanation_without_end_is_ended(piece: bytes) -> None:
    first = f"event: answer\ndata: {json.dumps(ANSWER)}\n\n".encode()
    with dripping(first, piece) as url, pytest.raises(AskError) as error:
        asking.explain({"MCQA_URL": url}, QUESTION, timeout=0.3)
    assert (error.value.code, "did not finish an explanation" in error.value.detail) == ("broken-off", True)


def test_an_explanation_is_no_longer_than_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_TEXT", 9)
    answer = f"event: answer\ndata: {json.dumps(ANSWER)}\n\n"
    end = {"explanations": [{**ANSWER, "explanation": "x" * 10, "finish_reason": "stop", "completion_tokens": 1}]}
    pieces: list[str] = []
    for body in (answer + TEXT.decode() * 5, f"{answer}event: end\ndata: {json.dumps(end)}\n\n"):
        with answering(200, body, {"content-type": "text/event-stream"}) as url, pytest.raises(AskError) as error:
            asking.explain({"MCQA_URL": url}, QUESTION, on_text=pieces.append)
        assert (error.value.code, "too long" in error.value.detail) == ("no-model-server", True)
    assert "".join(pieces) == "BeBeBeBe"


def test_explanations_are_asked_of_a_server_that_can_send_them() -> None:
    with answering(200, "{}", {"content-type": "application/json"}) as url, pytest.raises(AskError) as error:
        asking.explain({"MCQA_URL": url}, QUESTION)
    assert (error.value.code, "with a stream of events" in error.value.detail) == ("no-model-server", True)


def test_a_server_that_is_not_there_or_does_not_answer() -> None:
    with pytest.raises(AskError) as error:
        asking.ask({}, QUESTION)
    assert error.value.code == "no-address"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(AskError) as error:
            asking.ask({"MCQA_URL": url}, QUESTION)
        assert error.value.code == "unreachable"
        silent.listen(1)
        with pytest.raises(AskError) as error:
            asking.ask({"MCQA_URL": url}, QUESTION, timeout=0.3)
        assert error.value.code == "timeout"


@pytest.mark.parametrize("question", [QUESTION, HOSTILE], ids=["plain", "hostile"])
def test_the_requests_to_copy_work(server: Any, question: Question) -> None:
    letter = asking.ask({"MCQA_URL": server.url}, question).answer.letter
    curl = request_examples.curl(server.url, question).replace("curl ", "curl -sf ", 1)
    reply = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(reply)["predictions"][0]["letter"] == letter
    script = request_examples.python(server.url, question)
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert printed.stdout.startswith(letter)
