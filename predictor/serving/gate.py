"""The ASGI middleware in front of KServe's application: everything HTTP that KServe leaves open.

It bounds the body while it streams in, undoes its content codings, settles the content type, the request's id and
deadline, ends the work when the client goes away, turns every exception into {"error": …}, and reports the request when
it is over.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from common import content_codings
from predictor.serving.context import RequestContext, enter, open_context
from predictor.serving.errors import (
    BadRequest,
    BodyTimeout,
    NotReady,
    RequestError,
    TooLarge,
    UnsupportedMediaType,
    as_request_error,
)
from predictor.serving.model import McqaModel
from predictor.serving.settings import Settings
from predictor.serving.telemetry import INFERENCE_METHODS, Telemetry

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# nginx's code for a client that closed its connection; it is only logged and counted, there is nobody to send it to.
CLIENT_CLOSED = 499

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


class ClientGone(Exception):
    """The client closed the connection before it was answered."""


class Gate:
    """Turns new inference away while the model drains; `telemetry.in_flight` counts what it has let through."""

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
        request = _open(scope, headers, self._settings.request_timeout)
        enter(request)
        draining = self._model.draining
        closing = [(b"connection", b"close")] if draining else []
        reply = _Reply(send, request, [*self._answer_headers, *closing])
        self._telemetry.begin(request)
        status = "500"
        try:
            if draining and request.method in INFERENCE_METHODS:
                raise NotReady("the server is stopping", headers={"retry-after": "1"})
            if request.method in INFERENCE_METHODS and scope["method"] == "POST":
                await self._infer(scope, headers, receive, reply, request)
            else:
                await self._app(scope, receive, reply)
            status = str(reply.status)
        except (ClientGone, asyncio.CancelledError) as gone:
            request.cause, status = "client_gone", str(CLIENT_CLOSED)
            if isinstance(gone, asyncio.CancelledError):
                raise
        except Exception as raised:
            error = as_request_error(raised)
            self._telemetry.failed(request, error, raised)
            status = str(int(error.status))
            await reply.error(error)
        finally:
            self._telemetry.end(request, status)

    async def _infer(
        self, scope: Scope, headers: dict[str, str], receive: Receive, reply: _Reply, request: RequestContext
    ) -> None:
        applied = _content_codings(scope, headers)
        _settle_content_type(scope, headers)
        body = await self._read(headers, receive, request)
        if applied:
            body = await self._decoded(scope, body, applied)
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                await asyncio.Event().wait()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        work = asyncio.ensure_future(self._app(scope, replay, reply))
        left = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientGone
            await work
        finally:
            left.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))

    async def _decoded(self, scope: Scope, body: bytes, applied: tuple[str, ...]) -> bytes:
        """The body as it was before it was packed; the application never learns that it was."""
        most = self._settings.max_body_bytes
        try:
            # A few kilobytes may unpack to the limit: milliseconds that the event loop does not have.
            body = await asyncio.to_thread(content_codings.decode, body, applied, most)
        except content_codings.DecodedTooLargeError as error:
            raise TooLarge(str(error)) from None
        except content_codings.CodingError as error:
            raise BadRequest(str(error)) from None
        replaced = (b"content-encoding", b"content-length", b"transfer-encoding")
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name not in replaced]
        scope["headers"].append((b"content-length", str(len(body)).encode()))
        return body

    async def _read(self, headers: dict[str, str], receive: Receive, request: RequestContext) -> bytes:
        most = self._settings.max_body_bytes
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:15]) > most:
            raise _too_large(most)
        chunks, size = [], 0
        try:
            async with asyncio.timeout(max(0.0, request.deadline - time.monotonic())):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > most:
                        raise _too_large(most)
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return b"".join(chunks)
        except TimeoutError:
            raise BodyTimeout("the request's time passed before its body had arrived") from None


class _Reply:
    """The ASGI `send` of one request: adds our headers, remembers the status."""

    def __init__(self, send: Send, request: RequestContext, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._request = request
        self._headers = headers
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            request_id = (b"x-request-id", self._request.request_id.encode())
            headers = [*message.get("headers", ()), request_id, *self._headers]
            message = {**message, "headers": headers}
        await self._send(message)

    async def error(self, error: RequestError) -> None:
        if self.status:
            return
        body = orjson.dumps({"error": error.message})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(k.lower().encode(), v.encode()) for k, v in error.headers.items() if not k.startswith("grpc-")]
        await self({"type": "http.response.start", "status": int(error.status), "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _open(scope: Scope, headers: dict[str, str], timeout: float) -> RequestContext:
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
    """The codings to undo; UnsupportedMediaType tells which are accepted (RFC 9110, 12.5.3)."""
    if "content-encoding" not in headers:
        return ()
    every = b",".join(value for name, value in scope["headers"] if name == b"content-encoding")
    try:
        return content_codings.read_codings(every.decode("latin-1"))
    except content_codings.UnknownCodingError as error:
        raise UnsupportedMediaType(
            str(error), headers={"accept-encoding": ", ".join(content_codings.ACCEPTED)}
        ) from None


def _settle_content_type(scope: Scope, headers: dict[str, str]) -> None:
    """Refuses what is not JSON or tensors, and leaves KServe a bare media type: it compares the whole header."""
    given = headers.get("content-type", "")
    media, _, rest = given.partition(";")
    media = media.strip().lower()
    if media and media not in _MEDIA_TYPES:
        raise UnsupportedMediaType(f"content-type must be application/json, found {given[:80]!r}")
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", rest, re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(f"charset must be utf-8, found {charset[1][:80]!r}")
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    scope["headers"].append((b"content-type", (media or "application/json").encode()))


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body exceeds the limit of {most} bytes", headers={"connection": "close"})
