"""v2 over gRPC against a real server: tritonclient, and kserve's own messages where a client is too polite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from tests.servers import INFER, QUESTION, RunningServer, tensors

pytestmark = pytest.mark.usefixtures("processes")

SERVICE = "/inference.GRPCInferenceService/"
SECOND = {"question": "Which is a tuple?", "choices": ["()", "[]"]}


@pytest.fixture
def client(server: RunningServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def raw_inputs(*questions: dict[str, Any]) -> list[triton.InferInput]:
    inputs = []
    for tensor in tensors(*questions):
        values = np.array([text.encode() for text in tensor["data"]], dtype=object).reshape(tensor["shape"])
        inputs.append(triton.InferInput(tensor["name"], tensor["shape"], "BYTES"))
        inputs[-1].set_data_from_numpy(values)
    return inputs


def request(*questions: dict[str, Any], **fields: Any) -> Any:
    """A request with its data in `contents`, not raw."""
    message = pb.ModelInferRequest(model_name="coding-mcqa", **fields)
    for tensor in tensors(*questions):
        item = message.inputs.add(name=tensor["name"], datatype="BYTES", shape=tensor["shape"])
        item.contents.bytes_contents.extend(text.encode() for text in tensor["data"])
    return message


def call(channel: grpc.Channel, message: Any, method: str = "ModelInfer", **options: Any) -> tuple[Any, Any]:
    stub = channel.unary_unary(
        SERVICE + method,
        request_serializer=lambda value: value if isinstance(value, bytes) else value.SerializeToString(),
        response_deserializer=lambda data: data if method != "ModelInfer" else pb.ModelInferResponse.FromString(data),
    )
    return stub.with_call(message, timeout=options.pop("timeout", 30), **options)


def refused(channel: grpc.Channel, message: Any, method: str = "ModelInfer", **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call(channel, message, method, **options)
    return error.value


def test_tritonclient_gets_the_answers_of_rest(server: RunningServer, client: triton.InferenceServerClient) -> None:
    body = server.post(INFER, {"inputs": tensors(QUESTION, SECOND)}).json()
    result = client.infer("coding-mcqa", raw_inputs(QUESTION, SECOND), request_id="g-1")
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("g-1", "coding-mcqa", "random-1")
    assert response.parameters["revision"].string_param == "coding-mcqa-00001"
    assert [output.name for output in response.outputs] == [output["name"] for output in body["outputs"]]
    for output in body["outputs"]:
        values = result.as_numpy(output["name"])
        assert list(values.shape) == output["shape"]
        if output["datatype"] == "BYTES":
            assert [value.decode() for value in values.flatten()] == output["data"]
        else:
            assert values.flatten().tolist() == pytest.approx(output["data"], abs=1e-2)


def test_contents_in_contents_out(channel: grpc.Channel) -> None:
    response, trailer = call(channel, request(QUESTION, SECOND))
    outputs = {output.name: output for output in response.outputs}
    assert not response.raw_output_contents
    assert len(outputs["letter"].contents.bytes_contents) == 2
    assert len(outputs["index"].contents.int_contents) == 2
    assert len(outputs["probabilities"].contents.fp32_contents) == 8
    metadata = dict(trailer.trailing_metadata())
    assert metadata["x-model-version"] == "random-1"
    assert metadata["x-revision"] == "coding-mcqa-00001"
    assert response.id == metadata["x-request-id"]


def test_request_id_and_parameters(channel: grpc.Channel) -> None:
    plain, trailer = call(channel, request(QUESTION, id="42"), metadata=(("x-request-id", "trace-me"),))
    assert plain.id == "42"
    assert dict(trailer.trailing_metadata())["x-request-id"] == "trace-me"
    message = request(QUESTION)
    message.parameters["debias"].string_param = "cyclic"
    message.outputs.add(name="confidence")
    cyclic, _ = call(channel, message)
    assert [output.name for output in cyclic.outputs] == ["confidence"]
    assert cyclic.outputs[0].contents != plain.outputs[4].contents


def test_shapes_and_content_types_of_codecs(channel: grpc.Channel) -> None:
    plain, _ = call(channel, request(QUESTION, SECOND))
    message = request(QUESTION, SECOND)
    message.parameters["content_type"].string_param = "np"
    for tensor in message.inputs:
        tensor.shape.append(1)
        tensor.parameters["content_type"].string_param = "str"
    assert call(channel, message)[0].outputs == plain.outputs
    message.inputs[1].parameters["content_type"].string_param = "base64"
    error = refused(channel, message)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "inputs: choices: content_type must be one of str, np, pd, found 'base64'" in error.details()


def test_discovery(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("coding-mcqa")
    assert client.is_model_ready("coding-mcqa", "random-1")
    assert client.get_server_metadata(as_json=True) == {
        "name": "coding-mcqa",
        "version": client.get_server_metadata().version,
        "extensions": ["binary_tensor_data"],
    }
    metadata = client.get_model_metadata("coding-mcqa")
    assert list(metadata.versions) == ["random-1"]
    assert [tuple(item.shape) for item in metadata.inputs] == [(-1,), (-1, -1), (-1,), (-1,), (-1,)]


def broken(field: str) -> Any:
    message = request(QUESTION)
    match field:
        case "name":
            message.inputs[0].name = "hint"
        case "datatype":
            message.inputs[0].datatype = "INT32"
        case "unknown datatype":
            message.inputs[0].datatype = "TEXT"
        case "shape":
            message.inputs[1].shape[1] = 3
        case "negative shape":
            message.inputs[0].shape[0] = -1
        case "utf-8":
            message.inputs[0].contents.bytes_contents[0] = b"\xff"
        case "empty":
            message.inputs[0].contents.bytes_contents[0] = b""
        case "no inputs":
            del message.inputs[:]
        case "raw and contents":
            message.raw_input_contents.extend([b"", b""])
        case "raw count":
            message.raw_input_contents.append(b"")
        case "output":
            message.outputs.add(name="logits")
        case "debias":
            message.parameters["debias"].int64_param = 1
        case "parameter":
            message.parameters["temperature"].double_param = 0.5
        case "too long":
            message.inputs[0].contents.bytes_contents[0] = b"word " * 3000
    return message


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("name", "'hint' is not an input"),
        ("datatype", "question: datatype must be BYTES"),
        ("unknown datatype", "invalid content type"),
        ("shape", "choices: shape [1, 3] has 3 elements, found 4"),
        ("negative shape", "question: "),
        ("utf-8", "question: element 0 is not valid UTF-8"),
        ("empty", "question 0: question: is empty"),
        ("no inputs", "inputs: question is missing"),
        ("raw and contents", "contents field must not be specified"),
        ("raw count", "the number of inputs (2)"),
        ("output", "'logits' is not an output"),
        ("debias", "debias: must be one of"),
        ("parameter", "'temperature' is not known"),
        ("too long", "the limit is 1024"),
    ],
)
def test_a_bad_request_is_an_invalid_argument(channel: grpc.Channel, field: str, error: str) -> None:
    refusal = refused(channel, broken(field))
    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error in refusal.details()
    assert dict(refusal.trailing_metadata())["x-model-version"] == "random-1"


def test_bytes_that_are_no_message(channel: grpc.Channel) -> None:
    refusal = refused(channel, b"\xff\xff\xff\xff")
    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata"])
def test_an_unknown_model_or_version_is_not_found(channel: grpc.Channel, method: str) -> None:
    field = "model_name" if method == "ModelInfer" else "name"
    version = "model_version" if method == "ModelInfer" else "version"
    kind = getattr(pb, f"{method}Request")
    assert refused(channel, kind(**{field: "other"}), method).code() is grpc.StatusCode.NOT_FOUND
    wrong = refused(channel, kind(**{field: "coding-mcqa", version: "2"}), method)
    assert wrong.code() is grpc.StatusCode.NOT_FOUND
    assert "it serves random-1" in wrong.details()


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_the_repository_is_closed(server: RunningServer, channel: grpc.Channel, method: str) -> None:
    refusal = refused(channel, getattr(pb, f"{method}Request")(model_name="coding-mcqa"), method)
    assert refusal.code() is grpc.StatusCode.PERMISSION_DENIED
    assert server.client.get("/v2/health/ready").status_code == 200


def test_a_message_beyond_the_limit(channel: grpc.Channel) -> None:
    huge = request({**QUESTION, "question": "x" * 5_000_000})
    assert refused(channel, huge).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_unknown_method(channel: grpc.Channel) -> None:
    assert refused(channel, b"", "Nothing").code() is grpc.StatusCode.UNIMPLEMENTED


def test_tritonclient_shows_the_error(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="does not exist"):
        client.infer("other", raw_inputs(QUESTION))
