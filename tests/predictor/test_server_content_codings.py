"""Packed request bodies, against a real server: what is answered, refused and left standing."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx2
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from tritonclient.grpc import service_pb2 as pb

from tests.servers import EXPLAIN, INFER, PREDICT, QUESTION, RunningServer, tensors

pytestmark = pytest.mark.usefixtures("processes")

LIMIT = 4 * 1024 * 1024
V1 = json.dumps({"instances": [QUESTION]}).encode()
CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Identity": bytes,
    "deflate, gzip": lambda body: gzip.compress(zlib.compress(body)),
    "identity, gzip": gzip.compress,
}


@pytest.fixture(autouse=True)
def the_connection_stays_usable(server: RunningServer) -> Iterator[None]:
    before = server.ask(QUESTION).json()
    yield
    assert server.ask(QUESTION).json() == before
    assert server.lines("internal error") == []


def post(server: RunningServer, path: str, body: bytes, coding: str, **headers: str) -> httpx2.Response:
    return server.client.post(path, content=body, headers={"content-encoding": coding, **headers})


@pytest.mark.parametrize("coding", CODERS)
@pytest.mark.parametrize("chunked", [False, True])
def test_v1_and_v2(server: RunningServer, coding: str, chunked: bool) -> None:
    bodies: dict[str, Any] = {
        PREDICT: {"instances": [{**QUESTION, "code": "x = 'é'"}, QUESTION]},
        EXPLAIN: {"instances": [QUESTION], "parameters": {"max_new_tokens": 1}},
        INFER: {"inputs": tensors(QUESTION), "id": "7"},
    }
    for path, body in bodies.items():
        coded = CODERS[coding](json.dumps(body).encode())
        pieces = (coded[i : i + 7] for i in range(0, len(coded), 7))
        answer = server.client.post(path, content=pieces if chunked else coded, headers={"content-encoding": coding})
        assert answer.status_code == 200, answer.text
        assert answer.json() == server.post(path, body).json()


def test_several_headers_are_one_list(server: RunningServer) -> None:
    coded = gzip.compress(zlib.compress(V1))
    headers = [("content-encoding", "deflate"), ("content-encoding", "gzip")]
    assert server.client.post(PREDICT, content=coded, headers=headers).json() == server.ask(QUESTION).json()


def binary_body() -> tuple[bytes, str]:
    """A request with binary tensors, and the length of its JSON."""
    inputs, data = tensors(QUESTION), b""
    for item in inputs:
        packed = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in item.pop("data"))
        item["parameters"] = {"binary_data_size": len(packed)}
        data += packed
    header = json.dumps({"inputs": inputs}).encode()
    return header + data, str(len(header))


@pytest.mark.parametrize("coding", CODERS)
def test_the_binary_extensions_lengths_are_of_the_unpacked_body(server: RunningServer, coding: str) -> None:
    body, length = binary_body()
    headers = {"inference-header-content-length": length, "content-type": "application/octet-stream"}
    answer = post(server, INFER, CODERS[coding](body), coding, **headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"] == server.post(INFER, {"inputs": tensors(QUESTION)}).json()["outputs"]
    # A length within the packed body alone would be refused, were it of that.
    assert int(length) > len(gzip.compress(body[: int(length)]))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_packs(server: RunningServer, coding: str, binary: bool) -> None:
    inputs = []
    for item in tensors(QUESTION):
        inputs.append(triton.InferInput(item["name"], item["shape"], "BYTES"))
        values = np.array([text.encode() for text in item["data"]], dtype=object).reshape(item["shape"])
        inputs[-1].set_data_from_numpy(values, binary_data=binary)
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    plain = client.infer("coding-mcqa", inputs)
    packed = client.infer(
        "coding-mcqa", inputs, request_compression_algorithm=coding, response_compression_algorithm=coding
    )
    assert packed.as_numpy("probabilities").tolist() == plain.as_numpy("probabilities").tolist()


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip, gzip", "nonsense"])
@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_an_unknown_coding_is_415_and_says_what_is_known(server: RunningServer, path: str, coding: str) -> None:
    refused = post(server, path, V1, coding)
    assert refused.status_code == 415
    assert refused.headers["accept-encoding"] == "gzip, deflate"
    assert "content-encoding" in refused.json()["error"]


def test_another_415_does_not_speak_of_codings(server: RunningServer) -> None:
    refused = server.client.post(PREDICT, content=V1, headers={"content-type": "text/plain"})
    assert (refused.status_code, refused.headers.get("accept-encoding")) == (415, None)


@pytest.mark.parametrize(
    ("body", "coding", "error"),
    [
        (V1, "gzip", "is not a gzip stream"),
        (b"", "gzip", "ends within its gzip stream"),
        (gzip.compress(V1)[:-5], "gzip", "ends within its gzip stream"),
        (gzip.compress(V1) + V1, "gzip", "behind its gzip stream"),
        (zlib.compress(V1), "gzip", "is not a gzip stream"),
        (gzip.compress(V1), "deflate", "deflate stream"),
        (gzip.compress(b""), "gzip", "the body is empty"),
        (gzip.compress(b"{"), "gzip", "not JSON"),
        (gzip.compress(V1), "identity", "not JSON"),
    ],
)
def test_what_cannot_be_unpacked_is_400(server: RunningServer, body: bytes, coding: str, error: str) -> None:
    refused = post(server, PREDICT, body, coding)
    assert refused.status_code == 400
    assert error in refused.json()["error"]


def test_the_limit_is_of_the_unpacked_body(server: RunningServer) -> None:
    within = V1 + b" " * (LIMIT - len(V1))
    for coding in ("gzip", "deflate", "deflate, gzip"):
        assert post(server, PREDICT, CODERS[coding](within), coding).status_code == 200
        refused = post(server, PREDICT, CODERS[coding](within + b" "), coding)
        assert refused.status_code == 413
        assert refused.json() == {"error": f"the unpacked body exceeds the limit of {LIMIT} bytes"}


def test_a_bomb_within_a_bomb(server: RunningServer) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(400)) + packer.flush()
    assert post(server, PREDICT, bomb, "gzip").status_code == 413
    assert post(server, PREDICT, gzip.compress(bomb), "gzip, gzip").status_code == 413


def message(questions: int = 1) -> Any:
    request = pb.ModelInferRequest(model_name="coding-mcqa")
    for item in tensors(*[QUESTION] * questions):
        tensor = request.inputs.add(name=item["name"], datatype="BYTES", shape=item["shape"])
        tensor.contents.bytes_contents.extend(text.encode() for text in item["data"])
    return request


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression])
def test_grpcs_own_compression(server: RunningServer, algorithm: grpc.Compression) -> None:
    """Within the message limit, which is of the unpacked message too."""
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        plain = call(message(64), timeout=60)
        assert call(message(64), timeout=60, compression=algorithm).outputs == plain.outputs
        large = message()
        large.inputs[0].contents.bytes_contents[0] = bytes(100 * 1024 * 1024)
        with pytest.raises(grpc.RpcError) as refused:
            call(large, timeout=60, compression=algorithm)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert call(message(), timeout=60, compression=algorithm).outputs


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_tritonclient_packs_over_grpc(server: RunningServer, coding: str) -> None:
    inputs = []
    for item in tensors(QUESTION):
        inputs.append(triton_grpc.InferInput(item["name"], item["shape"], "BYTES"))
        values = np.array([text.encode() for text in item["data"]], dtype=object).reshape(item["shape"])
        inputs[-1].set_data_from_numpy(values)
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        packed = client.infer("coding-mcqa", inputs, compression_algorithm=coding)
    assert packed.as_numpy("letter")[0].decode() == server.ask(QUESTION).json()["predictions"][0]["letter"]
