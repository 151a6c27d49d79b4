"""Asks a running server over v2 gRPC (Open Inference Protocol), with KServe's messages but without importing kserve."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from common.question import Answer, Debias, Purpose, Question
from mcqa import defaults
from mcqa.errors import CommandError, ServerError, ServerUnreachableError
from mcqa.tensors import answers_from_tensors, question_tensors

SERVICE = "/inference.GRPCInferenceService"

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 503,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "UNIMPLEMENTED": 501,
}


class GrpcClient:
    def __init__(
        self,
        target: str,
        *,
        model_name: str = defaults.MODEL_NAME,
        timeout: float = defaults.REQUEST_TIMEOUT,
        purpose: Purpose | None = None,
    ) -> None:
        import grpc

        self.address = target.split("://")[-1].rstrip("/")
        self.model_name = model_name
        self._timeout = timeout
        self._purpose = purpose
        pb2 = messages()
        self._channel = grpc.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)])
        self._infer = self._channel.unary_unary(
            f"{SERVICE}/ModelInfer",
            request_serializer=pb2.ModelInferRequest.SerializeToString,
            response_deserializer=pb2.ModelInferResponse.FromString,
        )

    def ask(self, questions: Sequence[Question], debias: Debias | None = None) -> list[Answer]:
        import grpc

        pb2 = messages()
        request = pb2.ModelInferRequest(model_name=self.model_name)
        for name, shape, texts in question_tensors(questions):
            tensor = request.inputs.add(name=name, shape=shape, datatype="BYTES")
            tensor.contents.bytes_contents.extend(text.encode() for text in texts)
        for name, value in (("debias", debias), ("purpose", self._purpose)):
            if value is not None:
                request.parameters[name].string_param = value
        try:
            reply = self._infer(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._failure(error) from None
        revision = reply.parameters["revision"].string_param if "revision" in reply.parameters else None
        return answers_from_tensors(questions, outputs(reply), reply.model_version, revision)

    def _failure(self, error: Any) -> CommandError:
        code, details = error.code().name, error.details()
        if code == "UNAVAILABLE" and not self._listening():
            return ServerUnreachableError.at(self.address)
        return ServerError(f"the server answered {code}: {details}", HTTP_STATUS.get(code, 500))

    def _listening(self) -> bool:
        """Whether anything accepts connections: gRPC's code is the same for that and for a server that is not ready."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except (OSError, ValueError):
            return False
        return True


def outputs(reply: Any) -> dict[str, list[Any]]:
    """The reply's tensors by name as flat lists, from typed contents or raw little-endian bytes; strings decoded."""
    if not reply.raw_output_contents:
        return {tensor.name: _typed(tensor) for tensor in reply.outputs}
    return {
        tensor.name: _raw(tensor.datatype, raw)
        for tensor, raw in zip(reply.outputs, reply.raw_output_contents, strict=True)
    }


def _typed(tensor: Any) -> list[Any]:
    for _, values in tensor.contents.ListFields():
        return [v.decode() if isinstance(v, bytes) else v for v in values]
    return []


def _raw(datatype: str, raw: bytes) -> list[Any]:
    import struct

    if datatype == "BYTES":
        texts, at = [], 0
        while at < len(raw):
            (size,) = struct.unpack_from("<I", raw, at)
            texts.append(raw[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return texts
    code = {"FP32": "f", "FP64": "d", "INT32": "i", "INT64": "q", "UINT32": "I", "UINT64": "Q", "BOOL": "?"}[datatype]
    return list(struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw))


@cache
def messages() -> Any:
    """KServe's generated message module, loaded from its file: importing its package would import all of kserve."""
    package = importlib.util.find_spec("kserve")
    if package is None or package.origin is None:
        raise CommandError("the kserve package is not installed: run `make run` or `pip install kserve`")
    file = Path(package.origin).parent / "protocol" / "grpc" / "grpc_predict_v2_pb2.py"
    spec = importlib.util.spec_from_file_location("mcqa._grpc_predict_v2_pb2", file)
    if spec is None or spec.loader is None:
        raise CommandError(f"cannot load KServe's gRPC messages from {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
