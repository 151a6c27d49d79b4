"""A client's connection: requests one after the other, each read whole within its limits, answered, and only then the
next. Whatever was sent wrongly ends the connection, so that nobody's next request is read out of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from http import HTTPStatus
from typing import Any

import h11

from local.gateway.errors import Broken, Refusal, Unavailable
from local.gateway.exchange import Exchange, Shared
from local.gateway.link import Link
from local.gateway.requests import Body, Head, check_trailers, head_of, too_fine
from local.gateway.routing import Listener, place_of

log = logging.getLogger("gateway")

LINGER = 5.0
_TURN = 256
_CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
_BAD = h11.RemoteProtocolError


class Client:
    """Serves one connection; while it is `idle`, since `idle_since`, it may be closed without anybody's loss."""

    def __init__(self, link: Link, listener: Listener, shared: Shared) -> None:
        self._link, self._listener, self._shared = link, listener, shared
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=shared.settings.max_head)
        peer = link.transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._reserved = 0
        self._head_only = False
        self.idle, self.idle_since = True, asyncio.get_running_loop().time()
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until the connection ends."""
        self.task = asyncio.current_task()
        try:
            while await self._next():
                pass
            await self._link.linger(LINGER)
        except (Broken, OSError, TimeoutError, asyncio.CancelledError):
            # Half an answer may be out, and only an aborted connection says so; or nobody is there any more.
            self._link.transport.abort()
        except Exception:
            log.exception("a connection broke")
            self._link.transport.abort()
        finally:
            self._free()

    async def _next(self) -> bool:
        """One request and its answer; whether there may be another."""
        head = None
        try:
            head = await self._head()
            if head is None:
                return False
            state = await self._shared.state()
            place = place_of(state, self._listener, head)
            revision = self._shared.choose(place)
            body = await self._body(head)
            await self._exchange(Exchange(self._shared, head, body, place, revision, self._peer))
        except Refusal as refusal:
            await self._refuse(refusal, understood=head is not None)
        except h11.RemoteProtocolError as error:
            unread = Refusal(getattr(error, "error_status_hint", 400), f"not HTTP/1.1: {error}")
            await self._refuse(unread, understood=False)
        finally:
            self._free()
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._shared.stopping:
            self._http.start_next_cycle()
            return True
        return False

    async def _head(self) -> Head | None:
        """The next request's head; None when there will be none."""
        settings, raw = self._shared.settings, b""
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
                self._head_only = event.method == b"HEAD"
                if raw.find(b"\r\n\r\n") > settings.max_head:
                    raise Refusal(431, f"the head exceeds the limit of {settings.max_head} bytes")
                return head_of(event, raw)
            if event is not h11.NEED_DATA or (self.idle and self._shared.stopping):
                return None
            try:
                async with asyncio.timeout_at(deadline):
                    data = await self._link.receive()
            except TimeoutError:
                if self.idle:
                    return None
                raise Refusal(408, f"the request's head did not arrive in {settings.head_timeout:g} s") from None
            if not data and not self.idle:
                raise ConnectionResetError("the client left")
            if self.idle and data and not (data := data.lstrip(b"\r\n")):
                continue  # an empty line before a request is nothing (RFC 9112, section 2.2)
            self._http.receive_data(data)

    async def _body(self, head: Head) -> Body:
        settings = self._shared.settings
        if head.length is not None and head.length > settings.max_body:
            raise self._too_large()
        if self._http.they_are_waiting_for_100_continue:
            self._link.write(self._http.send(_CONTINUE) or b"")
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
                            raise self._too_large()
                        if too_fine(len(chunks), size):
                            raise Refusal(400, "the body's chunks are too small")
                        if not len(chunks) % _TURN:
                            await asyncio.sleep(0)  # others have their turn
                    elif type(event) is h11.EndOfMessage:
                        trailers = event.headers.raw_items()
                        check_trailers(trailers)
                        return Body(b"".join(chunks), trailers)
                    elif event is h11.NEED_DATA:
                        data = await self._link.receive()
                        if not data:
                            raise ConnectionResetError("the client left")
                        self._http.receive_data(data)
                    else:
                        raise ConnectionResetError("the client left")
        except TimeoutError:
            raise Refusal(408, f"the request's body did not arrive in {settings.body_timeout:g} s") from None

    async def _exchange(self, exchange: Exchange) -> None:
        """The answer, unless the client goes away first.

        Whether one that ends its half of the connection still listens cannot be seen: it gets a moment.
        """
        task = asyncio.current_task()
        assert task
        timer: asyncio.TimerHandle | None = None

        def leave() -> None:
            exchange.left()
            task.cancel()

        def gone() -> None:
            nonlocal timer
            if self._link.lost:
                leave()
            elif timer is None:
                timer = asyncio.get_running_loop().call_later(self._shared.settings.half_closed, leave)

        if self._link.ended:
            gone()
        self._link.on_gone = gone
        try:
            await exchange.run(self._http, self._link)
        finally:
            self._link.on_gone = None
            if timer:
                timer.cancel()

    async def _refuse(self, refusal: Refusal, *, understood: bool) -> None:
        """`understood`: its head is beyond doubt, so that where it ends is, too."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise Broken(str(refusal))
        if understood:
            self._skip()
        body = json.dumps({"error": str(refusal)}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *refusal.headers]
        if (
            not understood or self._http.their_state is not h11.DONE
        ):  # what is still to come would be read as the next request
            headers.append(("Connection", "close"))
        reason = HTTPStatus(refusal.status).phrase.encode()
        response = h11.Response(status_code=refusal.status, headers=headers, reason=reason)
        out = [self._http.send(response) or b""]
        if not self._head_only:
            out.append(self._http.send(h11.Data(data=body)) or b"")
        out.append(self._http.send(h11.EndOfMessage()) or b"")
        await self._link.send(b"".join(out), self._shared.settings.write_timeout)

    def _skip(self) -> None:
        """What is here of a request that is refused; its end, where it is here, lets the connection live on."""
        with contextlib.suppress(h11.RemoteProtocolError):
            while self._http.their_state is h11.SEND_BODY and type(self._http.next_event()) is h11.Data:
                pass

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body exceeds the limit of {self._shared.settings.max_body} bytes")

    def _reserve(self, size: int) -> None:
        self._reserved += size
        self._shared.buffered += size
        if self._shared.buffered > self._shared.settings.max_buffered:
            raise Unavailable("too many requests are being read")

    def _free(self) -> None:
        self._shared.buffered -= self._reserved
        self._reserved = 0
