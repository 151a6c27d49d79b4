"""The ASGI middleware in front of KServe's application: limits and admission, for all that KServe leaves open.

It bounds the body while it streams in, decodes its content codings, checks the content type, sets the request's id and
deadline, cancels the work when the client disconnects, turns every exception into {"error": …}, and reports the
finished request. Where a response has begun, which only a stream's can fail in, the error is its last event, and the
request is reported with the status that it would have had.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from common import content_codings
from common.inference_protocol import EVENT_STREAM
from predictor.serving.errors import (
    BadRequestError,
    BodyTimeoutError,
    NotReadyError,
    PayloadTooLargeError,
    RequestError,
    UnsupportedMediaTypeError,
    as_request_error,
)
from predictor.serving.event_stream import error_event
from predictor.serving.model import McqaModel
from predictor.serving.request_context import RequestContext, open_context, set_current_request
from predictor.serving.settings import Settings
from predictor.serving.telemetry import INFERENCE_METHODS, Telemetry

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# nginx's code for a client that closed its connection; only logged and counted, there is nobody to send it to.
CLIENT_CLOSED = 499
LAST_WRITE_SECONDS = 1.0

_ROUTES = (
    (re.compile(r"/v1/models/[^/]+:predict"), "v1", "predict"),
    (re.compile(r"/v1/models/[^/]+:explain"), "v1", "explain"),
    (re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer"), "v2", "infer"),
    (re.compile(r"/v1/models/[^/]+|/v2/models/[^/]+(/versions/[^/]+)?/ready|/v2/health/ready"), "http", "ready"),
    (re.compile(r"/|/v2/health/live"), "http", "live"),
    (re.compile(r"/metrics"), "http", "metrics"),
    (re.compile(r"/v1/models|/v2/?|/v2/models(/[^/]+(/versions/[^/]+)?)?|/openapi.json"), "http", "metadata"),
)
# RFC 7240: how long the client is willing to wait, in seconds.
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)
_MEDIA_TYPES = ("application/json", "application/cloudevents+json", "application/octet-stream")


class ClientDisconnectedError(Exception):
    """The client closed the connection before it was answered."""


class RequestMiddleware:
    """Refuses new inference while the model drains; `telemetry.in_flight` counts the admitted requests."""

    def __init__(
        self, app: App, settings: Settings, telemetry: Telemetry, model: McqaModel, answer_headers: dict[str, str]
    ) -> None:
        self._app = app
        self._model = model
        self._settings = settings
        self._telemetry = telemetry
        self._answer_headers = [(name.encode(), value.encode()) for name, value in answer_headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = _request_context(scope, headers, self._settings.request_timeout)
        set_current_request(request)
        draining = self._model.draining
        close = [(b"connection", b"close")] if draining else []
        respond = _ResponseSender(send, request, [*self._answer_headers, *close])
        self._telemetry.begin(request)
        status = "500"
        try:
            if draining:
                _refuse_inference(request)
            if request.method in INFERENCE_METHODS and scope["method"] == "POST":
                await self._infer(scope, headers, receive, respond, request)
            else:
                await self._app(scope, receive, respond)
            status = str(respond.status)
        except (ClientDisconnectedError, asyncio.CancelledError) as disconnect:
            request.cause, status = "client_gone", str(CLIENT_CLOSED)
            if isinstance(disconnect, asyncio.CancelledError):
                raise
        except Exception as raised:  # noqa: BLE001 - every error becomes a response
            error = as_request_error(raised)
            self._telemetry.failed(request, error, raised)
            status = str(int(error.status))
            await respond.error(error)
        finally:
            self._telemetry.end(request, status)

    async def _infer(
        self, scope: Scope, headers: dict[str, str], receive: Receive, respond: _ResponseSender, request: RequestContext
    ) -> None:
        codings = _content_codings(scope, headers)
        _check_content_type(scope, headers)
        body = await self._read(headers, receive, request)
        if codings:
            body = await self._decoded(scope, body, codings)
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                await asyncio.Event().wait()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        work = asyncio.ensure_future(self._app(scope, replay, respond))
        disconnected = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((work, disconnected), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientDisconnectedError
            await work
        finally:
            disconnected.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))

    async def _decoded(self, scope: Scope, body: bytes, codings: tuple[str, ...]) -> bytes:
        """The decoded body; the application never sees that it was encoded."""
        max_bytes = self._settings.max_body_bytes
        try:
            # A few kilobytes may decompress to the limit: that takes milliseconds, too long for the event loop.
            body = await asyncio.to_thread(content_codings.decode, body, codings, max_bytes)
        except content_codings.DecodedTooLargeError as error:
            raise PayloadTooLargeError(str(error)) from None
        except content_codings.CodingError as error:
            raise BadRequestError(str(error)) from None
        replaced = (b"content-encoding", b"content-length", b"transfer-encoding")
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name not in replaced]
        scope["headers"].append((b"content-length", str(len(body)).encode()))
        return body

    async def _read(self, headers: dict[str, str], receive: Receive, request: RequestContext) -> bytes:
        max_bytes = self._settings.max_body_bytes
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:15]) > max_bytes:
            raise _too_large(max_bytes)
        chunks, size = [], 0
        try:
            async with asyncio.timeout(max(0.0, request.deadline - time.monotonic())):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnectedError
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(max_bytes)
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return b"".join(chunks)
        except TimeoutError:
            raise BodyTimeoutError("the request's time passed before its body had arrived") from None


class _ResponseSender:
    """The ASGI `send` of one request: adds the server's headers, remembers the status."""

    def __init__(self, send: Send, request: RequestContext, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._request = request
        self._headers = headers
        self._streams = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._streams = any(value.startswith(EVENT_STREAM.encode()) for _, value in message.get("headers", ()))
            request_id = (b"x-request-id", self._request.request_id.encode())
            headers = [*message.get("headers", ()), request_id, *self._headers]
            message = {**message, "headers": headers}
        await self._send(message)

    async def error(self, error: RequestError) -> None:
        if self._streams:
            with contextlib.suppress(TimeoutError):  # of a client that does not read; its connection is closed then
                async with asyncio.timeout(LAST_WRITE_SECONDS):
                    await self._send({"type": "http.response.body", "body": error_event(error)})
        if self.status:
            return
        body = orjson.dumps({"error": error.message})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(k.lower().encode(), v.encode()) for k, v in error.headers.items() if not k.startswith("grpc-")]
        await self({"type": "http.response.start", "status": int(error.status), "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _refuse_inference(request: RequestContext) -> None:
    if request.method in INFERENCE_METHODS:
        raise NotReadyError("the server is stopping", headers={"retry-after": "1"})


def _request_context(scope: Scope, headers: dict[str, str], timeout: float) -> RequestContext:
    path = scope["path"]
    protocol, method = next(
        ((protocol, method) for pattern, protocol, method in _ROUTES if pattern.fullmatch(path)), ("http", "other")
    )
    if match := _PREFER_WAIT.search(headers.get("prefer", "")):
        timeout = min(timeout, int(match[1]))
    # Envoy (Istio, Knative's ingresses) says in this header when it will give up on the request.
    upstream = headers.get("x-envoy-expected-rq-timeout-ms", "")
    if upstream.isascii() and upstream.isdigit():
        timeout = min(timeout, int(upstream[:12]) / 1000 or timeout)
    return open_context(protocol, method, path, headers, timeout)


def _content_codings(scope: Scope, headers: dict[str, str]) -> tuple[str, ...]:
    """The codings to decode; UnsupportedMediaTypeError names the accepted ones (RFC 9110, 12.5.3)."""
    if "content-encoding" not in headers:
        return ()
    header = b",".join(value for name, value in scope["headers"] if name == b"content-encoding")
    try:
        return content_codings.read_codings(header.decode("latin-1"))
    except content_codings.UnknownCodingError as error:
        raise UnsupportedMediaTypeError(
            str(error), headers={"accept-encoding": ", ".join(content_codings.ACCEPTED)}
        ) from None


def _check_content_type(scope: Scope, headers: dict[str, str]) -> None:
    """Refuses what is not JSON or tensors, and passes KServe a bare media type, as it compares the whole header."""
    given = headers.get("content-type", "")
    media, _, rest = given.partition(";")
    media = media.strip().lower()
    if media and media not in _MEDIA_TYPES:
        raise UnsupportedMediaTypeError(f"content-type must be application/json, found {given[:80]!r}")
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", rest, re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaTypeError(f"charset must be utf-8, found {charset[1][:80]!r}")
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    scope["headers"].append((b"content-type", (media or "application/json").encode()))


def _too_large(max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"the body exceeds the limit of {max_bytes} bytes", headers={"connection": "close"})
