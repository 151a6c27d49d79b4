"""A client's connection: requests in sequence, each read completely within its limits and answered before the
next. A malformed request ends the connection, so that no part of it can be read as the next request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from http import HTTPStatus
from typing import Any

import h11

from local.gateway.context import GatewayContext
from local.gateway.errors import GatewayError, UnavailableError, UpstreamAbortedError
from local.gateway.http_message import RequestBody, RequestHead, check_trailers, is_mostly_framing, parse_head
from local.gateway.proxy import ProxiedRequest
from local.gateway.routing import Listener, match_route
from local.gateway.stream import Stream

log = logging.getLogger("gateway")

LINGER_SECONDS = 5.0
_CHUNKS_PER_TURN = 256
_CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")


class ClientConnection:
    """Serves one connection. While it is `idle` (since `idle_since`), closing it loses nothing."""

    def __init__(self, stream: Stream, listener: Listener, context: GatewayContext) -> None:
        self._stream, self._listener, self._context = stream, listener, context
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=context.settings.max_head)
        peer = stream.transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._reserved = 0
        self._is_head_request = False
        self.idle, self.idle_since = True, asyncio.get_running_loop().time()
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serves requests until the connection ends."""
        self.task = asyncio.current_task()
        try:
            while await self._serve_request():
                pass
            await self._stream.linger(LINGER_SECONDS)
        except (UpstreamAbortedError, OSError, TimeoutError, asyncio.CancelledError):
            # Half a response may have been sent, which only an aborted connection shows; or the client is gone.
            self._stream.transport.abort()
        except Exception:
            log.exception("serving a connection failed")
            self._stream.transport.abort()
        finally:
            self._release_buffer()

    async def _serve_request(self) -> bool:
        """Serves one request; returns whether there may be another."""
        head = None
        try:
            head = await self._read_head()
            if head is None:
                return False
            state = await self._context.state()
            route_match = match_route(state, self._listener, head)
            revision = self._context.choose_revision(route_match)
            body = await self._read_body(head)
            await self._proxy(ProxiedRequest(self._context, head, body, route_match, revision, self._peer))
        except GatewayError as error:
            await self._reject(error, head_valid=head is not None)
        except h11.RemoteProtocolError as error:
            malformed = GatewayError(getattr(error, "error_status_hint", 400), f"not HTTP/1.1: {error}")
            await self._reject(malformed, head_valid=False)
        finally:
            self._release_buffer()
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._context.stopping:
            self._http.start_next_cycle()
            return True
        return False

    async def _read_head(self) -> RequestHead | None:
        """The next request's head; None if there will be none."""
        settings, raw = self._context.settings, b""
        self.idle, self.idle_since = True, asyncio.get_running_loop().time()
        deadline = self.idle_since + settings.idle_timeout
        while True:
            if pending := self._http.trailing_data[0]:
                raw = pending
                if self.idle:
                    self.idle = False
                    deadline = asyncio.get_running_loop().time() + settings.head_timeout
            event: Any = self._http.next_event()
            if type(event) is h11.Request:
                self._is_head_request = event.method == b"HEAD"
                if raw.find(b"\r\n\r\n") > settings.max_head:
                    raise GatewayError(431, f"the head exceeds the limit of {settings.max_head} bytes")
                return parse_head(event, raw)
            if event is not h11.NEED_DATA or (self.idle and self._context.stopping):
                return None
            try:
                async with asyncio.timeout_at(deadline):
                    data = await self._stream.receive()
            except TimeoutError:
                if self.idle:
                    return None
                raise GatewayError(408, f"the request's head did not arrive in {settings.head_timeout:g} s") from None
            if not data and not self.idle:
                raise ConnectionResetError("the client disconnected")
            if self.idle and data and not (data := data.lstrip(b"\r\n")):
                continue  # an empty line before a request is ignored (RFC 9112, section 2.2)
            self._http.receive_data(data)

    async def _read_body(self, head: RequestHead) -> RequestBody:
        settings = self._context.settings
        if head.length is not None and head.length > settings.max_body:
            raise self._body_too_large()
        if self._http.they_are_waiting_for_100_continue:
            self._stream.write(self._http.send(_CONTINUE) or b"")
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(settings.body_timeout):
                while True:
                    event: Any = self._http.next_event()
                    if type(event) is h11.Data:
                        chunks.append(bytes(event.data))
                        size += len(event.data)
                        self._reserve(len(event.data))
                        if size > settings.max_body:
                            raise self._body_too_large()
                        if is_mostly_framing(len(chunks), size):
                            raise GatewayError(400, "the body's chunks are too small")
                        if not len(chunks) % _CHUNKS_PER_TURN:
                            await asyncio.sleep(0)  # let others run
                    elif type(event) is h11.EndOfMessage:
                        trailers = event.headers.raw_items()
                        check_trailers(trailers)
                        return RequestBody(b"".join(chunks), trailers)
                    elif event is h11.NEED_DATA:
                        data = await self._stream.receive()
                        if not data:
                            raise ConnectionResetError("the client disconnected")
                        self._http.receive_data(data)
                    else:
                        raise ConnectionResetError("the client disconnected")
        except TimeoutError:
            raise GatewayError(408, f"the request's body did not arrive in {settings.body_timeout:g} s") from None

    async def _proxy(self, proxied: ProxiedRequest) -> None:
        """Proxies a request, unless the client disconnects first.

        Whether a client that closes its half of the connection still reads is unknown: it gets a moment.
        """
        task = asyncio.current_task()
        assert task
        timer: asyncio.TimerHandle | None = None

        def abandon() -> None:
            proxied.client_disconnected()
            task.cancel()

        def on_disconnect() -> None:
            nonlocal timer
            if self._stream.lost:
                abandon()
            elif timer is None:
                timer = asyncio.get_running_loop().call_later(self._context.settings.half_closed, abandon)

        if self._stream.ended:
            on_disconnect()
        self._stream.on_disconnect = on_disconnect
        try:
            await proxied.run(self._http, self._stream)
        finally:
            self._stream.on_disconnect = None
            if timer:
                timer.cancel()

    async def _reject(self, error: GatewayError, *, head_valid: bool) -> None:
        """`head_valid`: the head was parsed without doubt, so the end of the message is known."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise UpstreamAbortedError(str(error))
        if head_valid:
            self._discard_request()
        body = json.dumps({"error": str(error)}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *error.headers]
        if not head_valid or self._http.their_state is not h11.DONE:  # the rest would be read as the next request
            headers.append(("Connection", "close"))
        reason = HTTPStatus(error.status).phrase.encode()
        response = h11.Response(status_code=error.status, headers=headers, reason=reason)
        out = [self._http.send(response) or b""]
        if not self._is_head_request:
            out.append(self._http.send(h11.Data(data=body)) or b"")
        out.append(self._http.send(h11.EndOfMessage()) or b"")
        await self._stream.send(b"".join(out), self._context.settings.write_timeout)

    def _discard_request(self) -> None:
        """Discards what has arrived of a rejected request; if that is all of it, the connection stays open."""
        with contextlib.suppress(h11.RemoteProtocolError):
            while self._http.their_state is h11.SEND_BODY and type(self._http.next_event()) is h11.Data:
                pass

    def _body_too_large(self) -> GatewayError:
        return GatewayError(413, f"the body exceeds the limit of {self._context.settings.max_body} bytes")

    def _reserve(self, size: int) -> None:
        self._reserved += size
        self._context.buffered_bytes += size
        if self._context.buffered_bytes > self._context.settings.max_buffered:
            raise UnavailableError("too many request bodies are being read")

    def _release_buffer(self) -> None:
        self._context.buffered_bytes -= self._reserved
        self._reserved = 0
