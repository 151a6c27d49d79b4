"""`purpose`: what marks a test. From the request over a real server into what the functions read of both bodies."""

from __future__ import annotations

import json
import struct
from typing import Any

import grpc
import httpx2
import pytest
from tritonclient.grpc import service_pb2 as pb

from common.event_types import INFERENCE_REQUEST, INFERENCE_RESPONSE
from functions.collect.parsing import RequestEvent, ResponseEvent, parse_event
from functions.events import Event
from tests.servers import EXPLAIN, INFER, PREDICT, QUESTION, RunningServer, tensors

pytestmark = pytest.mark.usefixtures("processes")

TEST = {"parameters": {"purpose": "test"}}
V1: dict[str, Any] = {"instances": [QUESTION]}


def binary(**more: Any) -> dict[str, Any]:
    """The same question as binary tensors, and the answer asked for so."""
    raw, items = b"", []
    for tensor in tensors(QUESTION):
        data = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in tensor.pop("data"))
        items.append({**tensor, "parameters": {"binary_data_size": len(data)}})
        raw += data
    wish = {**more.get("parameters", {}), "binary_data_output": True}
    head = json.dumps({"inputs": items, "parameters": wish}).encode()
    return {"content": head + raw, "headers": {"inference-header-content-length": str(len(head))}}


def sent(server: RunningServer, kind: str, more: dict[str, Any]) -> httpx2.Response:
    if kind == "v2 binary":
        return server.client.post(INFER, **binary(**more))
    path = {"v1": PREDICT, "explain": EXPLAIN, "v2": INFER}[kind]
    body = {"inputs": tensors(QUESTION)} if kind == "v2" else V1
    return server.post(path, {**body, **more})


def logged(response: httpx2.Response) -> list[Any]:
    """What collect makes of the two events that KServe's logger makes of an exchange."""
    bodies = ((INFERENCE_REQUEST, response.request.content), (INFERENCE_RESPONSE, response.content))
    return [parse_event(Event("1", "/logger", type, data=body), 1.0) for type, body in bodies]


@pytest.mark.parametrize("kind", ["v1", "explain", "v2", "v2 binary"])
@pytest.mark.parametrize(("more", "purpose"), [({}, None), (TEST, "test"), ({"parameters": {"purpose": None}}, None)])
def test_both_logged_bodies_of_a_test_are_marked(
    server: RunningServer, kind: str, more: dict[str, Any], purpose: str | None
) -> None:
    response = sent(server, kind, more)
    assert response.status_code == 200, response.text
    request, answer = logged(response)
    assert isinstance(request, RequestEvent)
    assert isinstance(answer, ResponseEvent)
    assert (request.purpose, answer.purpose) == (purpose, purpose)


@pytest.mark.parametrize("kind", ["v1", "explain", "v2", "v2 binary"])
@pytest.mark.parametrize("value", ["production", "", "TEST", 1, True, ["test"], {"a": 1}])
def test_other_purposes_are_refused(server: RunningServer, kind: str, value: Any) -> None:
    response = sent(server, kind, {"parameters": {"purpose": value}})
    assert response.status_code == 400
    assert "parameters" in response.json()["error"]
    assert "purpose" in response.json()["error"]


def test_over_grpc_the_answer_says_so(server: RunningServer) -> None:
    message = pb.ModelInferRequest(model_name="coding-mcqa")
    message.parameters["purpose"].string_param = "test"
    for tensor in tensors(QUESTION):
        item = message.inputs.add(name=tensor["name"], datatype="BYTES", shape=tensor["shape"])
        item.contents.bytes_contents.extend(text.encode() for text in tensor["data"])
    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        assert infer(message, timeout=30).parameters["purpose"].string_param == "test"
        message.parameters["purpose"].string_param = "fun"
        with pytest.raises(grpc.RpcError, match="purpose: must be one of test, found 'fun'"):
            infer(message, timeout=30)
