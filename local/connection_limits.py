"""Limits that uvicorn does not have: how long a request may take to arrive, how large its head may be, and how many
connections there may be at a time. Whoever reads a body limits its size.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


class LimitedHttpProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=LimitedHttpProtocol)`. 408 for a request that is incomplete after `max_seconds`, 431 for
    a head (or what follows a body's last chunk) of more than `max_head_bytes`, 503 for a connection beyond
    `max_connections`; then the connection is closed.

    The clock stops while the server itself does not read, as during the response to an earlier request. Whatever of a
    body arrives after its response is read and discarded until then: closing earlier would lose the response.
    """

    max_seconds = 30.0
    max_head_bytes = 64 * 1024
    max_connections = 256

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_size = 0
        self._body_incomplete = False
        self._request_began: float | None = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        if len(self.connections) > self.max_connections:
            self._reject(503, "too many connections; try again later")
        else:
            self._schedule_check(self.max_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._request_began is None:
            self._request_began = self.loop.time()
        self._head_size += len(data)
        super().data_received(data)
        if self._head_size > self.max_head_bytes and not self.transport.is_closing():
            self._reject(431, f"a request's head may have at most {self.max_head_bytes} bytes")

    def on_message_begin(self) -> None:
        if self._request_began is None:  # behind another request in the same packet
            self._request_began = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_size = 0
        self._body_incomplete = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_size = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_size = 0
        self._request_began = None
        self._body_incomplete = False
        super().on_message_complete()

    def _schedule_check(self, delay: float) -> None:
        self._timer = self.loop.call_later(delay, self._check_time)

    def _check_time(self) -> None:
        """One timer per connection, rescheduled for the remaining time: one per request would cost more."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._request_began is None or self.flow.read_paused:
            self._schedule_check(self.max_seconds)
        elif (left := self._request_began + self.max_seconds - now) > 0:
            self._schedule_check(left)
        else:
            self._reject(408, f"the request was incomplete after {self.max_seconds:g} s")

    def _reject(self, status: int, reason: str) -> None:
        cycle: Any = self.cycle
        # No response is possible during another one, or after that of a request whose body is still incomplete.
        if cycle is None or not cycle.response_started or (cycle.response_complete and not self._body_incomplete):
            body = json.dumps({"error": reason})
            head = f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + (head + body).encode())
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()
