"""White space, line ends and composition change no probability, whichever way a question comes in."""

from __future__ import annotations

import json
import struct
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.servers import INFER, PREDICT, QUESTION, ROOT, RunningServer, tensors
from tests.variants import QUESTIONS, variants

pytestmark = pytest.mark.usefixtures("processes")

EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),  # every example is a request or two: shrinking one would take minutes
)
CASES = ROOT.parent / "shared" / "cases" / "text" / "white_space.json"

Question = dict[str, Any]
Told = tuple[str, list[float]]
"""The choice as it was told, and the probabilities."""


def v1(server: RunningServer, question: Question) -> Told:
    answer = server.ask(question).json()["predictions"][0]
    return answer["choice"], list(answer["probabilities"].values())


def inputs(question: Question) -> list[tuple[str, list[int], list[str]]]:
    tensors = [
        ("question", [1], [question["question"]]),
        ("choices", [1, len(question["choices"])], question["choices"]),
    ]
    return [*tensors, ("code", [1], [question["code"]])] if "code" in question else tensors


def _tokenizer_error(response: Any) -> Told:
    assert response.status_code == 200, response.text
    outputs = {item["name"]: item["data"] for item in response.json()["outputs"]}
    return outputs["choice"][0], outputs["probabilities"]


def v2(server: RunningServer, question: Question) -> Told:
    tensors = [{"name": n, "shape": s, "datatype": "BYTES", "data": data} for n, s, data in inputs(question)]
    return _tokenizer_error(server.post(INFER, {"inputs": tensors}))


def binary(server: RunningServer, question: Question) -> Told:
    tensors, data = [], b""
    for name, shape, texts in inputs(question):
        packed = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
        parameters = {"binary_data_size": len(packed)}
        tensors.append({"name": name, "shape": shape, "datatype": "BYTES", "parameters": parameters})
        data += packed
    header = json.dumps({"inputs": tensors}).encode()
    headers = {"inference-header-content-length": str(len(header)), "content-type": "application/octet-stream"}
    return _tokenizer_error(server.client.post(INFER, content=header + data, headers=headers))


def over_grpc(server: RunningServer, question: Question) -> Told:
    message = pb.ModelInferRequest(model_name="coding-mcqa")
    for name, shape, texts in inputs(question):
        item = message.inputs.add(name=name, datatype="BYTES", shape=shape)
        item.contents.bytes_contents.extend(text.encode() for text in texts)
    for name in ("choice", "probabilities"):
        message.outputs.add(name=name)
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        choice, probabilities = (output.contents for output in call(message, timeout=60).outputs)
    return choice.bytes_contents[0].decode(), list(probabilities.fp32_contents)


WAYS = {"v1": v1, "v2": v2, "binary": binary, "grpc": over_grpc}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("question", QUESTIONS)
@EXAMPLES
@given(data=st.data())
def test_edits_that_nobody_sees(server: RunningServer, way: str, question: Question, data: st.DataObject) -> None:
    choice, probabilities = WAYS[way](server, question)
    edited = data.draw(variants(question))
    repeated, scored = WAYS[way](server, edited)
    assert scored == probabilities
    assert repeated == edited["choices"][question["choices"].index(choice)], "the sender's own text"


@pytest.mark.parametrize("way", WAYS)
def test_what_has_a_meaning_changes_them(server: RunningServer, way: str) -> None:
    plain = {**QUESTION, "code": "if x:\n    y = 'a  b'\nprint(y)"}
    _, probabilities = WAYS[way](server, plain)
    for code in (
        "if x:\n    y = 'a b'\nprint(y)",
        "if x:\n    y = 'a  b'\n    print(y)",
        "if x:\n y = 'a  b'\nprint(y)",
    ):
        assert WAYS[way](server, {**plain, "code": code})[1] != probabilities


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_a_byte_order_mark_before_the_body(server: RunningServer, path: str) -> None:
    body = {PREDICT: {"instances": [QUESTION]}, INFER: {"inputs": tensors(QUESTION), "id": "7"}}[path]
    marked = server.client.post(path, content=b"\xef\xbb\xbf" + json.dumps(body).encode())
    assert marked.json() == server.post(path, body).json()
    assert server.client.post(path, content=b"\xef\xbb\xbf").json()["error"].startswith("the body is empty")


def test_every_mode_of_debiasing(server: RunningServer) -> None:
    edited = {**QUESTION, "choices": [f"\ufeff {choice}\r\n" for choice in QUESTION["choices"]]}
    for mode in ("none", "prior", "cyclic"):
        first, second = (server.ask(question, debias=mode).json()["predictions"][0] for question in (QUESTION, edited))
        assert first["probabilities"] == second["probabilities"]
        assert second["choice"] == f"\ufeff {first['choice']}\r\n"


@pytest.fixture(scope="module")
def cases() -> Any:
    if not CASES.is_file():
        pytest.skip("the shared cases are not beside this checkout")
    return json.loads(CASES.read_text(encoding="utf-8"))


@pytest.mark.parametrize("way", WAYS)
def test_shared_cases_of_the_same_question(server: RunningServer, way: str, cases: Any) -> None:
    _, probabilities = WAYS[way](server, cases["plain"])
    for case in cases["same"]:
        assert WAYS[way](server, case["question"])[1] == probabilities, case["name"]


def test_shared_cases_of_duplicates(server: RunningServer, cases: Any) -> None:
    for case in cases["refused as duplicates, naming the letters"]:
        refused = server.post(PREDICT, {"instances": [{"question": "Which?", "choices": case["choices"]}]})
        assert refused.status_code == 400, case["name"]
        assert "choices: A and B are the same" in refused.json()["error"]
