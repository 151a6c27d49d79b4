"""Connections to replicas, kept open for a moment between requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import h11

from local.gateway.errors import UpstreamAbortedError
from local.gateway.stream import Stream

KEEPALIVE_SECONDS = 1.0
"""gunicorn closes idle connections after 2 s. Ours are closed earlier: a request on a closing connection is lost."""
_MAX_HEAD = 256 * 1024
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


class UpstreamUnreachableError(Exception):
    """Nobody listens there; nothing was sent."""


class UpstreamConnection:
    """One connection to a replica, for one request at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self.reused = self.received_any = False

    def send(self, events: Sequence[h11.Event]) -> None:
        self.received_any = False
        data = b"".join([self._http.send(event) or b"" for event in events])
        self._stream.write(data)

    def next_event(self) -> Any:
        """The next event that has already arrived, h11.NEED_DATA if there is none; UpstreamAbortedError."""
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise UpstreamAbortedError(str(error)) from None

    async def receive(self) -> None:
        """Waits for bytes; UpstreamAbortedError if none can come any more."""
        data = await self._stream.receive()
        if data:
            self.received_any = True
        elif not self.received_any:
            raise UpstreamAbortedError("it closed the connection without a response")
        try:
            self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise UpstreamAbortedError(str(error)) from None

    async def receive_head(self, interim: Callable[[h11.InformationalResponse], None]) -> h11.Response:
        """The response's head; `interim` gets the responses before it (103 Early Hints)."""
        while True:
            event = self.next_event()
            if event is h11.NEED_DATA:
                await self.receive()
            elif type(event) is h11.InformationalResponse:
                interim(event)
            elif type(event) is h11.Response:
                return event
            else:
                raise UpstreamAbortedError("it closed the connection without a response")

    def prepare_reuse(self) -> bool:
        """Prepares the connection for another request; returns whether that is possible."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and self._stream.reusable:
            self._http.start_next_cycle()
            self.reused = True
            return True
        return False

    @property
    def open(self) -> bool:
        return self._stream.reusable

    def close(self) -> None:
        self._stream.transport.abort()


class UpstreamPool:
    """Connections by port. Whoever takes one either gives it back or closes it."""

    def __init__(self) -> None:
        self._idle: dict[int, list[UpstreamConnection]] = {}

    async def request(
        self, port: int, events: Sequence[h11.Event], interim: Callable[[h11.InformationalResponse], None]
    ) -> tuple[UpstreamConnection, h11.Response]:
        """Sends a request and waits for the response's head. UpstreamUnreachableError, UpstreamAbortedError.

        A reused connection may have been closed by the replica at this very moment, so an idempotent request (RFC 9110,
        section 9.2.2) is repeated on another one.
        """
        head = events[0]
        repeatable = isinstance(head, h11.Request) and head.method in _IDEMPOTENT
        while True:
            upstream = self._take(port) or await self._open(port)
            try:
                upstream.send(events)
                return upstream, await upstream.receive_head(interim)
            except (UpstreamAbortedError, OSError) as error:
                upstream.close()
                if not (upstream.reused and repeatable and not upstream.received_any):
                    raise UpstreamAbortedError(str(error) or type(error).__name__) from None
            except BaseException:
                upstream.close()
                raise

    def give_back(self, upstream: UpstreamConnection, port: int) -> None:
        """Keeps the connection open for a moment if it can be reused."""
        if not upstream.prepare_reuse():
            upstream.close()
            return
        self._idle.setdefault(port, []).append(upstream)
        asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self._drop, port, upstream)

    def close(self) -> None:
        for upstreams in self._idle.values():
            for upstream in upstreams:
                upstream.close()
        self._idle.clear()

    def _take(self, port: int) -> UpstreamConnection | None:
        idle = self._idle.get(port)
        while idle:
            upstream = idle.pop()
            if upstream.open:
                return upstream
            upstream.close()
        return None

    def _drop(self, port: int, upstream: UpstreamConnection) -> None:
        idle = self._idle.get(port) or []
        # If it was reused and given back meanwhile, a later timer exists too; closing a little early does no harm.
        if upstream in idle:
            idle.remove(upstream)
            upstream.close()
        if not idle:
            self._idle.pop(port, None)

    async def _open(self, port: int) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_connection(Stream, "127.0.0.1", port)
        except OSError as error:
            raise UpstreamUnreachableError(str(error)) from None
        return UpstreamConnection(stream)
