"""KServe's REST server and endpoints, without those that would mislead or be insecure."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRouter
from starlette.exceptions import HTTPException
from uvicorn import Config, Server

from predictor.serving.dataplane import McqaDataPlane
from predictor.serving.errors import BadRequestError, ForbiddenError, MethodNotAllowedError
from predictor.serving.kserve_sdk import (
    INFERENCE_CONTENT_LENGTH_HEADER,
    ModelNotReady,
    RESTServer,
    V1Endpoints,
    V2Endpoints,
    metrics_handler,
)
from predictor.serving.middleware import RequestMiddleware
from predictor.serving.openapi import openapi_document
from predictor.serving.settings import Settings
from predictor.serving.v1_protocol import wants_stream
from predictor.serving.v2_protocol import decode_rest


class McqaV1Endpoints(V1Endpoints):  # type: ignore[misc]  # untyped
    """KServe's v1 endpoints, with explanations while they are written: KServe's own can stream predictions only."""

    dataplane: McqaDataPlane

    async def explain(self, model_name: str, request: Request) -> Response:
        payload, event = self.dataplane.decode(await request.body(), dict(request.headers))
        if not wants_stream(payload) or not await self.dataplane.model_ready(model_name, True):
            response: Response = await super().explain(model_name, request)
            return response
        if event:
            raise BadRequestError("parameters: stream: a CloudEvent is answered with one, not with a stream")
        return await self.dataplane.explain_stream(payload)


class McqaV2Endpoints(V2Endpoints):  # type: ignore[misc]  # untyped
    """KServe's v2 endpoints, with versions, responses without nulls, and strict parsing in one pass."""

    dataplane: McqaDataPlane

    async def model_metadata(self, model_name: str, model_version: str | None = None) -> Any:
        """Not KServe's own endpoint, whose response model has no `properties`."""
        self.dataplane.check_version(model_name, model_version)
        return await self.dataplane.model_metadata(model_name)

    async def model_ready(self, model_name: str, model_version: str | None = None) -> Any:
        self.dataplane.check_version(model_name, model_version)
        return await super().model_ready(model_name)

    async def infer(self, raw_request: Request, model_name: str, model_version: str | None = None) -> Response:
        self.dataplane.check_version(model_name, model_version)
        if not await self.dataplane.model_ready(model_name, True):
            raise ModelNotReady(model_name)
        headers = dict(raw_request.headers)
        body = await raw_request.body()
        request = decode_rest(body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER), model_name)
        answer, _ = await self.dataplane.infer(model_name=model_name, request=request, headers=headers)
        content, extra = self.dataplane.encode(model_name, answer, headers={}, req_attributes={})
        if isinstance(content, bytes):
            return Response(content, media_type="application/octet-stream", headers=extra)
        return Response(orjson.dumps(content), media_type="application/json", headers=extra)


async def _closed(request: Request) -> None:
    raise ForbiddenError("models are not loaded or unloaded over the network; deploy a new revision instead")


async def _post_only(request: Request) -> None:
    raise MethodNotAllowedError("this path takes POST", headers={"Allow": "POST"})


class RestServer(RESTServer):  # type: ignore[misc]  # untyped
    """Listens on a socket that is already bound; signals are handled by the process, not by uvicorn."""

    dataplane: McqaDataPlane

    def __init__(
        self,
        dataplane: McqaDataPlane,
        settings: Settings,
        sock: socket.socket,
        middleware: Callable[[Any], RequestMiddleware],
        started: Callable[[], None],
    ) -> None:
        super().__init__(
            "kserve.model_server:app", dataplane, None, settings.http_port, grace_period=int(settings.grace_period)
        )
        self.config.host = settings.host
        self.config.access_log = False
        self.config.server_header = False
        self._server = _Server(self.config, started)
        self._settings = settings
        self._sock = sock
        self._middleware = middleware

    async def start(self) -> None:
        # KServe's v1 endpoints answer with it; a warning per request is of no use.
        warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
        self.create_application()
        await self._server.serve(sockets=[self._sock])

    def stop(self, force: bool = False) -> None:
        self._server.should_exit = True
        self._server.force_exit = force

    def _register_endpoints(self, app: FastAPI) -> None:
        v1, v2 = McqaV1Endpoints(self.dataplane), McqaV2Endpoints(self.dataplane)
        router = APIRouter()

        def route(path: str, endpoint: Any, method: str = "GET") -> None:
            router.add_api_route(path, endpoint, methods=[method], response_model=None)

        route("/", self.dataplane.live)
        route("/metrics", metrics_handler)
        route("/v1/models", v1.models)
        for verb, endpoint in (("predict", v1.predict), ("explain", v1.explain)):
            route(f"/v1/models/{{model_name}}:{verb}", endpoint, "POST")
            # Without it, GET would look for a model called "coding-mcqa:predict".
            route(f"/v1/models/{{model_name}}:{verb}", _post_only)
        route("/v1/models/{model_name}", v1.model_ready)
        route("/v2", v2.metadata)
        route("/v2/", v2.metadata)
        route("/v2/health/live", v2.live)
        route("/v2/health/ready", v2.ready)
        route("/v2/models", v2.models)
        for model in ("/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"):
            route(model, v2.model_metadata)
            route(f"{model}/ready", v2.model_ready)
            route(f"{model}/infer", v2.infer, "POST")
        route("/v2/repository/index", _closed, "POST")
        route("/v2/repository/models/{model_name}/load", _closed, "POST")
        route("/v2/repository/models/{model_name}/unload", _closed, "POST")
        app.include_router(router)
        app.router.redirect_slashes = False
        document = openapi_document(self._settings)
        app.openapi = lambda: document  # type: ignore[method-assign]

    def _add_exception_handlers(self, app: FastAPI) -> None:
        """Every exception goes up to RequestMiddleware, which has the one mapping table."""
        for kind in (HTTPException, RequestValidationError):
            app.add_exception_handler(kind, _raise)

    def _add_middlewares(self, app: FastAPI) -> None:
        app.add_middleware(self._middleware)


async def _raise(request: Request, error: Exception) -> Response:
    raise error


class _Server(Server):
    def __init__(self, config: Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
