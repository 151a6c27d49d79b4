from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from common.question import Answer, Question
from mcqa import client, grpc_client, tensors
from mcqa.errors import CommandError, ServerError, ServerUnreachableError

pytestmark = pytest.mark.usefixtures("processes")

QUESTIONS = [
    Question("What is len([1, 2])?", ("1", "2", "3", "an error")),
    Question("Ünï ☃?", ("a", "b"), code="print('ß')\n", id="q-2", subject="slicing"),
    Question("Many?", tuple("0123456789")),
]


def connect(protocol: Any, server: Any) -> Any:
    return client.connect(protocol, server.grpc if protocol == "grpc" else server.url)


def test_an_answer_survives_its_json_form() -> None:
    answer = Answer("B", 1, "y", (0.25, 0.75), 0.75, 0.5, 0.56, 0.9, 12, "7", "rev-1", "q")
    assert client.answer_from_dict(answer.to_dict()) == answer
    bare = replace(answer, revision=None, id=None)
    assert client.answer_from_dict({**bare.to_dict(), "a later field": 1}) == bare


def test_tensors_are_padded_to_the_widest_question() -> None:
    assert tensors.question_tensors(QUESTIONS[:2]) == [
        ("question", [2], ["What is len([1, 2])?", "Ünï ☃?"]),
        ("choices", [2, 4], ["1", "2", "3", "an error", "a", "b", "", ""]),
        ("code", [2], ["", "print('ß')\n"]),
        ("id", [2], ["", "q-2"]),
        ("subject", [2], ["", "slicing"]),
    ]


def test_raw_grpc_outputs_are_read() -> None:
    pb2 = grpc_client.messages()
    reply = pb2.ModelInferResponse()
    for name, datatype in (("letter", "BYTES"), ("p", "FP32"), ("n", "INT32")):
        reply.outputs.add(name=name, datatype=datatype, shape=[2])
    reply.raw_output_contents.extend([
        b"\1\0\0\0A\2\0\0\0\xc3\x9f", b"\0\0\x80\x3f\0\0\0\x3f", b"\7\0\0\0\xff\xff\xff\xff",
    ])  # fmt: skip
    assert grpc_client.outputs(reply) == {"letter": ["A", "ß"], "p": [1.0, 0.5], "n": [7, -1]}


def test_the_grpc_messages_do_not_import_kserve() -> None:
    script = "import sys; from mcqa import grpc_client; grpc_client.messages(); print('kserve' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("protocol", ["v1", "v2", "grpc"])
def test_nobody_home(protocol: Any) -> None:
    with pytest.raises(
        ServerUnreachableError, match=r"no server answers at .*127.0.0.1:9: start one with `mcqa serve`"
    ):
        client.connect(protocol, "127.0.0.1:9").ask(QUESTIONS[:1])


def test_every_protocol_gives_the_same_answers(server: Any) -> None:
    v1, v2, grpc = (connect(protocol, server).ask(QUESTIONS, "none") for protocol in ("v1", "v2", "grpc"))
    assert [len(a.probabilities) for a in v1] == [4, 2, 10]
    assert [a.id for a in v1] == [None, "q-2", None]
    for item, *others in zip(v1, v2, grpc, strict=True):
        assert sum(item.probabilities) == pytest.approx(1)
        for other in others:
            for name in ("letter", "index", "choice", "prompt_tokens", "model_version", "revision", "id"):
                assert getattr(other, name) == getattr(item, name)
            for name in ("probabilities", "confidence", "margin", "entropy", "letter_mass"):
                assert getattr(other, name) == pytest.approx(getattr(item, name), abs=1e-5)


@pytest.mark.parametrize("protocol", ["v1", "v2", "grpc"])
def test_the_purpose_reaches_the_server(protocol: Any, server: Any) -> None:
    where = server.grpc if protocol == "grpc" else server.url
    marked = client.connect(protocol, where, purpose="test").ask(QUESTIONS[:1], "none")
    assert marked == connect(protocol, server).ask(QUESTIONS[:1], "none")
    other: Any = "fun"
    with pytest.raises(ServerError, match="purpose: must be one of test, found 'fun'"):
        client.connect(protocol, where, purpose=other).ask(QUESTIONS[:1], "none")


@pytest.mark.parametrize("protocol", ["v1", "v2", "grpc"])
def test_debias_reaches_the_server(server: Any, protocol: Any) -> None:
    asked = connect(protocol, server)
    question = QUESTIONS[0]
    plain = [asked.ask([question.rotated(k)], "none")[0].probabilities for k in range(4)]
    cyclic = [asked.ask([question.rotated(k)], "cyclic")[0].probabilities for k in range(4)]
    assert cyclic[1] == pytest.approx(cyclic[0][1:] + cyclic[0][:1], abs=1e-3)  # the place no longer matters
    assert plain[1] != pytest.approx(plain[0][1:] + plain[0][:1], abs=1e-3)


@pytest.mark.parametrize("protocol", ["v1", "v2", "grpc"])
def test_the_servers_reason_is_told(server: Any, protocol: Any) -> None:
    with pytest.raises(ServerError, match="question 1: choices: A and B are the same text") as failure:
        connect(protocol, server).ask([QUESTIONS[0], Question("Q?", ("x", "x"))])
    assert failure.value.status == 400


def test_a_server_of_another_kind_is_named(server: Any) -> None:
    with pytest.raises(CommandError, match="404"):
        client.V1Client(server.url, model_name="another").ask(QUESTIONS[:1])
