"""Thousands of hostile requests: no 5xx, every error in the protocol's shape, and a server that answers afterwards."""

from __future__ import annotations

import copy
import json
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import grpc
import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mcqa.event_stream import read_events
from tests.servers import EXPLAIN, INFER, PREDICT, QUESTION, RunningServer, tensors

pytestmark = pytest.mark.usefixtures("processes")

EXAMPLES = settings(
    max_examples=600, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)
sent: Counter[int] = Counter()


@pytest.fixture(scope="module", autouse=True)
def the_server_still_answers(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[None]:
    before = server.ask(QUESTION).json()
    sent.clear()
    yield
    assert server.ask(QUESTION).json() == before
    assert server.metric("mcqa_requests_in_flight") == 0
    assert server.lines("internal error") == []
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{sum(sent.values())} hostile requests, by status: {dict(sent)}")
    assert sum(sent.values()) > 3000, sent
    assert sent[200] > 100, sent


def check(response: httpx2.Response) -> None:
    """A good answer, or {"error": text} that tells nothing of our insides; 504 only where a header asked for it."""
    sent[response.status_code] += 1
    hurried = {"prefer", "x-envoy-expected-rq-timeout-ms"} & set(response.request.headers)
    fine = [200, *range(400, 500), *([504] if hurried else [])]
    assert response.status_code in fine, (response.status_code, response.text)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        names = [event.name for event in read_events([response.content])]
        assert names[0] == "answer"
        assert names[-1] == "end" or hurried
    if response.status_code != 200:
        body = response.json()
        assert list(body) == ["error"]
        assert isinstance(body["error"], str)
        assert 5 < len(body["error"]) < 1000
        for leak in ("Traceback", "Error:", "Exception", "object at 0x", ".py", "NoneType"):
            assert leak not in body["error"], body


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
texts = st.text(max_size=40) | st.sampled_from(["", " ", "\0", "\ud800", "<|im_end|>", "a" * 3000, "\u202e", "🐍" * 50])


GOOD_V1 = [
    {"instances": [QUESTION]},
    {"instances": [{**QUESTION, "id": "7", "code": "x = 1", "subject": "python", "answer": 1}, QUESTION]},
    {"instances": [QUESTION], "parameters": {"debias": "cyclic"}},
]
GOOD_EXPLAIN: list[Any] = [
    {"instances": [QUESTION], "parameters": {"max_new_tokens": 1, "debias": "none"}},
    {"instances": [QUESTION], "parameters": {"max_new_tokens": 1, "stream": True}},
]
GOOD_V2: list[Any] = [
    {"inputs": tensors(QUESTION), "id": "7", "outputs": [{"name": "letter", "parameters": {"binary_data": False}}]},
    {"inputs": tensors(QUESTION, QUESTION), "parameters": {"debias": "cyclic", "binary_data_output": True}},
    {"inputs": [*tensors(QUESTION), {"name": "code", "shape": [1], "datatype": "BYTES", "data": ["x"]}], "outputs": []},
]
GOOD: dict[str, list[Any]] = {PREDICT: GOOD_V1, EXPLAIN: GOOD_EXPLAIN, INFER: GOOD_V2}
strange = st.one_of(
    anything,
    texts,
    st.integers(-3, 300),
    st.lists(texts, max_size=12),
    st.sampled_from([[1], [1, 2], [2, 2], [0], [-1], [1, 1, 1], [2**62, 4], [["a", "b"]], "BYTES", "INT32", "FP16"]),
)


@st.composite
def mutated(draw: st.DrawFn, good: list[Any]) -> Any:
    """A good body with up to three places replaced, removed or added."""
    body = copy.deepcopy(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 3))):
        place = body
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys)) if keys else None
            if key is None or not isinstance(place[key], dict | list) or draw(st.integers(0, 3)) == 0:
                break
            place = place[key]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])), place:
            case "remove", _ if key is not None:
                del place[key]
            case "add", dict():
                name = draw(st.sampled_from(["extra", "data", "parameters", "code", "id", "outputs"]))
                place[name] = copy.deepcopy(draw(strange))
            case "add", list():
                place.append(copy.deepcopy(draw(strange)))
            case _ if key is not None:
                place[key] = copy.deepcopy(draw(strange))
        if not isinstance(body, dict | list):
            break
    return body


headers = st.dictionaries(
    st.sampled_from(
        [
            "content-type",
            "inference-header-content-length",
            "x-request-id",
            "traceparent",
            "tracestate",
            "prefer",
            "x-envoy-expected-rq-timeout-ms",
            "content-encoding",
            "ce-specversion",
            "ce-id",
            "ce-type",
            "ce-source",
            "ce-time",
            "ce-contenttype",
        ]
    ),
    st.sampled_from(
        [
            "application/json",
            "application/json; charset=utf-8",
            "application/cloudevents+json",
            "application/octet-stream",
            "1.0",
            "/source",
            "text/plain",
            "-1",
            "0",
            "17",
            "99999999999999999999",
            "wait=9",
            "wait=x",
            "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ]
    )
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    max_size=6,
)
paths = st.sampled_from([PREDICT, EXPLAIN, INFER])


def encode(body: Any) -> bytes:
    """JSON as Python writes it: NaN and lone surrogates included."""
    return json.dumps(body).encode()


@EXAMPLES
@given(body=mutated(GOOD_V1))
def test_v1_predict(server: RunningServer, body: Any) -> None:
    check(server.client.post(PREDICT, content=encode(body)))


@EXAMPLES
@given(body=mutated(GOOD_EXPLAIN))
def test_v1_explain(server: RunningServer, body: Any) -> None:
    limit_explanation(body)
    check(server.client.post(EXPLAIN, content=encode(body)))


@EXAMPLES
@given(body=mutated(GOOD_V2))
def test_v2_infer(server: RunningServer, body: Any) -> None:
    check(server.client.post(INFER, content=encode(body)))


def limit_explanation(body: Any) -> None:
    """One token, as 256 of them would only make the test slow."""
    if isinstance(body, dict) and not isinstance(parameters := body.setdefault("parameters", {}), dict):
        body["parameters"] = {"max_new_tokens": parameters}
    elif isinstance(body, dict):
        parameters.setdefault("max_new_tokens", 1)


@EXAMPLES
@given(body=anything, path=paths)
def test_any_json(server: RunningServer, body: Any, path: str) -> None:
    check(server.client.post(path, content=encode(body)))


@EXAMPLES
@given(body=st.binary(max_size=200) | st.none(), path=paths, given_headers=headers)
def test_any_bytes_and_headers(
    server: RunningServer, body: bytes | None, path: str, given_headers: dict[str, str]
) -> None:
    content = encode(GOOD[path][0]) if body is None else body
    given_headers = {name: value.strip() for name, value in given_headers.items()}
    check(server.client.post(path, content=content, headers=given_headers))


@EXAMPLES
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]),
    parts=st.lists(
        st.sampled_from(["v1", "v2", "models", "coding-mcqa", "coding-mcqa:predict", "infer", "ready", "versions"])
        | st.text(min_size=1, max_size=12),
        max_size=6,
    ),
    query=st.text(max_size=20),
)
def test_any_path(server: RunningServer, method: str, parts: list[str], query: str) -> None:
    path = "/" + "/".join(quote(part.encode("utf-8", "replace"), safe=":") for part in parts)
    response = server.client.request(method, path, params={"q": query.encode("utf-8", "replace").decode()})
    check(response)


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /" + b"a" * 100_000,
    ],
)
def test_what_is_no_http_request(server: RunningServer, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(0.5)
        try:
            sock.sendall(raw)
            answer = sock.recv(65536)
        except (TimeoutError, ConnectionError):
            answer = b""
    assert b" 500 " not in answer
    assert server.client.get("/v2/health/ready").status_code == 200


@EXAMPLES
@given(data=st.binary(max_size=300), method=st.sampled_from(["ModelInfer", "ModelReady", "ModelMetadata"]))
def test_any_grpc_message(server: RunningServer, data: bytes, method: str) -> None:
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(data, timeout=20)
    assert refused.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    sent[0] += 1


CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_what_the_openapi_document_promises(server: RunningServer, mode: schemathesis.GenerationMode) -> None:
    """schemathesis, with data that fits the document and data that does not."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    results: list[Any] = list(schema.get_all_operations())
    tried = [result.ok().label for result in results if holds(result.ok(), mode)]
    assert {f"POST {path}" for path in ("/v1/models/{model_name}:predict", "/v2/models/{model_name}/infer")} <= {*tried}


def holds(operation: Any, mode: schemathesis.GenerationMode) -> bool:
    """Sends the operation requests and checks the responses; False when it has no data of this mode."""

    @settings(EXAMPLES, max_examples=60)
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        if case.path.endswith(":explain"):
            limit_explanation(case.body)
        response = case.call()
        sent[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    try:
        run()
    except Unsatisfiable:
        return False
    return True
