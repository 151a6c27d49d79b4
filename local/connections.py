"""Bounds on a connection that uvicorn does not have: how long a request may take to arrive, how large its head may be,
and how many connections there are at a time. Bodies are bounded by who reads them.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

SECONDS = 30.0
HEAD_BYTES = 64 * 1024
CONNECTIONS = 256


class BoundedProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=BoundedProtocol)`. 408 for a request that is not whole after `seconds`, 431 for a head
    (or what follows a body's last chunk) of more than `head_bytes`, 503 for a connection too many; then it is closed.

    The time does not run while the server itself does not read on, as during an answer to an earlier request.
    """

    seconds = SECONDS
    head_bytes = HEAD_BYTES
    most = CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._fed = 0
        self._since: float | None = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most:
            self._end(503, "too many connections; try again later")
        else:
            self._watch(self.seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._since is None:
            self._since = self.loop.time()
        self._fed += len(data)
        super().data_received(data)
        if self._fed > self.head_bytes and not self.transport.is_closing():
            self._end(431, f"a request's head may have {self.head_bytes} bytes")

    def on_message_begin(self) -> None:
        if self._since is None:  # behind another request in the same packet
            self._since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._fed = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._fed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fed = 0
        self._since = None
        super().on_message_complete()

    def _watch(self, delay: float) -> None:
        self._timer = self.loop.call_later(delay, self._look)

    def _look(self) -> None:
        """One timer a connection, set again for what is left: setting one for each request costs more."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._since is None or self.flow.read_paused:
            self._watch(self.seconds)
        elif (left := self._since + self.seconds - now) > 0:
            self._watch(left)
        else:
            self._end(408, f"the request was not whole after {self.seconds:g} s")

    def _end(self, status: int, reason: str) -> None:
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = json.dumps({"error": reason})
            head = f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + (head + body).encode())
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()
