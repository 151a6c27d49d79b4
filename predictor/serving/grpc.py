"""KServe's gRPC server and servicer, with the status codes, limits and headers it lacks."""

# ruff: noqa: N802 - gRPC names the servicer's methods

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent import futures
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from predictor.serving.dataplane import McqaDataPlane
from predictor.serving.errors import BadRequestError, ForbiddenError, NotReadyError, RequestError, as_request_error
from predictor.serving.kserve_sdk import GRPCServer, InferenceServicer, ModelNotReady, pb, pb_grpc
from predictor.serving.model import McqaModel
from predictor.serving.request_context import open_context, set_current_request
from predictor.serving.settings import Settings
from predictor.serving.telemetry import Telemetry

DEADLINE_TOLERANCE = 0.05
"""Seconds. A call that ends at its deadline may be cancelled this long before `time_remaining` says so: the client's
clock started earlier, and gRPC's timers are coarse (3 ms seen, both on one machine)."""

_METHODS = {
    "ModelInfer": "infer",
    "ModelReady": "ready",
    "ServerReady": "ready",
    "ServerLive": "live",
    "ModelMetadata": "metadata",
    "ServerMetadata": "metadata",
}


class McqaServicer(InferenceServicer):  # type: ignore[misc]  # untyped
    """KServe's servicer: with versions, with readiness before inference, and without the repository."""

    _data_plane: McqaDataPlane

    async def ModelReady(self, request: Any, context: Any) -> Any:
        self._data_plane.check_version(request.name, request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        self._data_plane.check_version(request.name, request.version)
        metadata = await self._data_plane.model_metadata(model_name=request.name)
        metadata.pop("properties", None)  # the SDK's message has no such field
        return pb.ModelMetadataResponse(**metadata)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self._data_plane.check_version(request.model_name, request.model_version)
        if not await self._data_plane.model_ready(request.model_name, True):
            raise ModelNotReady(request.model_name)
        return await super().ModelInfer(request, context)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:
        raise ForbiddenError("models are not loaded over the network; deploy a new revision instead")

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:
        raise ForbiddenError("models are not unloaded over the network; deploy a new revision instead")


class RequestInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # untyped
    """What RequestMiddleware is for REST: id, deadline, errors as status codes, one report per request."""

    def __init__(
        self, settings: Settings, telemetry: Telemetry, model: McqaModel, answer_headers: dict[str, str]
    ) -> None:
        self._settings = settings
        self._model = model
        self._telemetry = telemetry
        self._answer_headers = tuple(answer_headers.items())

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def behaviour(message: bytes, context: Any) -> Any:
            return await self._answer(handler, details, message, context)

        # The message stays bytes until `_answer`, where a message of another type becomes a clear error.
        return grpc.unary_unary_rpc_method_handler(behaviour, None, handler.response_serializer)

    async def _answer(self, handler: Any, details: Any, message: bytes, context: Any) -> Any:
        headers = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
        method = _METHODS.get(details.method.rpartition("/")[2], "other")
        timeout = self._settings.request_timeout
        if (remaining := context.time_remaining()) is not None:
            timeout = min(timeout, remaining)
        request = open_context("grpc", method, details.method, headers, timeout)
        set_current_request(request)
        self._telemetry.begin(request)
        status = "INTERNAL"
        try:
            self._admit(method)
            answer = await handler.unary_unary(_parse(handler, message), context)
            # Not earlier: KServe's servicer takes existing trailing metadata for the request's headers.
            context.set_trailing_metadata((("x-request-id", request.request_id), *self._answer_headers))
            status = "OK"
        except asyncio.CancelledError:
            expired = request.deadline - time.monotonic() <= DEADLINE_TOLERANCE
            request.cause, status = ("deadline", "DEADLINE_EXCEEDED") if expired else ("client_gone", "CANCELLED")
            raise
        except Exception as raised:  # noqa: BLE001 - every error becomes a status
            error = as_request_error(raised)
            status = error.grpc_code
            self._telemetry.failed(request, error, raised)
            await self._abort(context, request.request_id, error)
        else:
            return answer
        finally:
            self._telemetry.end(request, status)

    def _admit(self, method: str) -> None:
        if self._model.draining and method == "infer":
            raise NotReadyError("the server is stopping")

    async def _abort(self, context: Any, request_id: str, error: RequestError) -> None:
        pushback = [(key, value) for key, value in error.headers.items() if key.startswith("grpc-")]
        metadata = (("x-request-id", request_id), *self._answer_headers, *pushback)
        await context.abort(grpc.StatusCode[error.grpc_code], error.message, metadata)


def _parse(handler: Any, message: bytes) -> Any:
    try:
        return handler.request_deserializer(message)
    except DecodeError:
        raise BadRequestError("the message is not of this method's type") from None


class GrpcServer(GRPCServer):  # type: ignore[misc]  # untyped
    """Listens on the configured host; KServe's own listens on every address and shares its port."""

    def __init__(self, dataplane: McqaDataPlane, settings: Settings, interceptor: RequestInterceptor) -> None:
        super().__init__(settings.grpc_port, dataplane, None, {}, int(settings.grace_period))
        self._settings = settings
        self._interceptor = interceptor

    async def open(self) -> None:
        """Starts serving; raises OSError when the address is taken."""
        max_bytes = self._settings.max_body_bytes
        self._server = grpc.aio.server(
            futures.ThreadPoolExecutor(max_workers=1),
            interceptors=(self._interceptor,),
            options=[
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        pb_grpc.add_GRPCInferenceServiceServicer_to_server(McqaServicer(self._data_plane, None), self._server)
        host = self._settings.host
        address = f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"
        try:
            self._server.add_insecure_port(address)
        except RuntimeError:
            raise OSError(f"gRPC cannot listen on {address}; is the port taken?") from None
        await self._server.start()

    async def close(self, grace: float) -> None:
        if self._server:
            await self._server.stop(grace)
