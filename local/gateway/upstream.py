"""Connections to replicas: kept for a moment, written to once, read event by event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import h11

from local.gateway.errors import Broken
from local.gateway.link import Link

KEPT_SECONDS = 1.0
"""gunicorn closes idle connections after 2 s: ours go first, since a request that meets a closing one is lost."""
_MAX_HEAD = 256 * 1024
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


class Unreachable(Exception):
    """Nobody listens there: nothing was sent."""


class Upstream:
    """One connection to a replica, for one exchange at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self.used = self.heard = False

    def send(self, events: Sequence[h11.Event]) -> None:
        self.heard = False
        data = b"".join([self._http.send(event) or b"" for event in events])
        self._link.write(data)

    def event(self) -> Any:
        """The next event that is there already, h11.NEED_DATA when there is none; Broken."""
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise Broken(str(error)) from None

    async def more(self) -> None:
        """Waits for bytes; Broken when they can no longer come."""
        data = await self._link.receive()
        if data:
            self.heard = True
        elif not self.heard:
            raise Broken("it closed the connection without an answer")
        try:
            self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise Broken(str(error)) from None

    async def head(self, interim: Callable[[h11.InformationalResponse], None]) -> h11.Response:
        """The response's head; `interim` gets what came before it (103 Early Hints)."""
        while True:
            event = self.event()
            if event is h11.NEED_DATA:
                await self.more()
            elif type(event) is h11.InformationalResponse:
                interim(event)
            elif type(event) is h11.Response:
                return event
            else:
                raise Broken("it closed the connection without an answer")

    def again(self) -> bool:
        """Whether the connection may be used once more; then it is ready for it."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and self._link.quiet:
            self._http.start_next_cycle()
            self.used = True
            return True
        return False

    @property
    def open(self) -> bool:
        return self._link.quiet

    def close(self) -> None:
        self._link.transport.abort()


class Upstreams:
    """Connections by port. What is not given back is closed by whoever took it."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Upstream]] = {}

    async def ask(
        self, port: int, events: Sequence[h11.Event], interim: Callable[[h11.InformationalResponse], None]
    ) -> tuple[Upstream, h11.Response]:
        """Sends a request and waits for the response's head. Unreachable, Broken.

        A connection that was used before may have been closed at this very moment: a request that may be repeated
        (RFC 9110, section 9.2.2) is, on a fresh one.
        """
        request = events[0]
        repeatable = isinstance(request, h11.Request) and request.method in _IDEMPOTENT
        while True:
            upstream = self._take(port) or await self._open(port)
            try:
                upstream.send(events)
                return upstream, await upstream.head(interim)
            except (Broken, OSError) as error:
                upstream.close()
                if not (upstream.used and repeatable and not upstream.heard):
                    raise Broken(str(error) or type(error).__name__) from None
            except BaseException:
                upstream.close()
                raise

    def give_back(self, upstream: Upstream, port: int) -> None:
        """Keeps the connection for a moment where it may be used again."""
        if not upstream.again():
            upstream.close()
            return
        self._kept.setdefault(port, []).append(upstream)
        asyncio.get_running_loop().call_later(KEPT_SECONDS, self._drop, port, upstream)

    def close(self) -> None:
        for upstreams in self._kept.values():
            for upstream in upstreams:
                upstream.close()
        self._kept.clear()

    def _take(self, port: int) -> Upstream | None:
        kept = self._kept.get(port)
        while kept:
            upstream = kept.pop()
            if upstream.open:
                return upstream
            upstream.close()
        return None

    def _drop(self, port: int, upstream: Upstream) -> None:
        kept = self._kept.get(port) or []
        # Used again and given back meanwhile, it has a later timer too; going a little early harms nobody.
        if upstream in kept:
            kept.remove(upstream)
            upstream.close()
        if not kept:
            self._kept.pop(port, None)

    async def _open(self, port: int) -> Upstream:
        loop = asyncio.get_running_loop()
        try:
            _, link = await loop.create_connection(Link, "127.0.0.1", port)
        except OSError as error:
            raise Unreachable(str(error)) from None
        return Upstream(link)
