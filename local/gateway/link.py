"""A TCP connection that is read by asking, holds little of what nobody asked for, and says when it is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

HIGH_WATER = 64 * 1024


class Link(asyncio.Protocol):
    """`on_gone` is called when the other side has ended its half of the connection (`ended`), or all of it (`lost`)."""

    def __init__(self, opened: Callable[[Link], None] | None = None) -> None:
        self._opened = opened
        self._buffer = bytearray()
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._paused = False
        self.transport: asyncio.Transport
        self.ended = False  # no more bytes will come
        self.lost = False
        self.on_gone: Callable[[], object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if (sock := transport.get_extra_info("socket")) is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._opened:
            self._opened(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > HIGH_WATER and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> bool:
        self._end()
        return True  # the answer may still go out

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        _wake(self._writing)
        self._end()

    def pause_writing(self) -> None:
        self._writing = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        _wake(self._writing)
        self._writing = None

    def _end(self) -> None:
        self.ended = True
        _wake(self._reading)
        if self.on_gone:
            self.on_gone()

    @property
    def quiet(self) -> bool:
        """Whether it is open and nothing lies unread: fit for another request."""
        return not self.ended and not self._buffer and not self.transport.is_closing()

    async def receive(self) -> bytes:
        """What has come, at least one byte; b"" at the end."""
        while not self._buffer and not self.ended:
            self._reading = asyncio.get_running_loop().create_future()
            try:
                await self._reading
            finally:
                self._reading = None
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._paused and not self.ended:
            self._paused = False
            self.transport.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Sends without waiting: for what is bounded and in memory anyway."""
        if self.lost:
            raise ConnectionResetError("the connection is gone")
        self.transport.write(data)

    async def send(self, data: bytes, timeout: float) -> None:
        """Sends, and waits while the other side takes nothing; ConnectionResetError, TimeoutError."""
        self.write(data)
        if self._writing is not None:
            async with asyncio.timeout(timeout):
                await self._writing
            if self.lost:
                raise ConnectionResetError("the connection is gone")

    async def linger(self, seconds: float) -> None:
        """Closes so that the last answer arrives: what the other side still sends is thrown away for a while.

        Closing at once would reset the connection, and a client that is still sending would never see the answer.
        """
        try:
            async with asyncio.timeout(seconds):
                if not self.ended and self.transport.can_write_eof():
                    self.transport.write_eof()
                while await self.receive():
                    pass
        except (TimeoutError, OSError, RuntimeError):
            self.transport.abort()
        else:
            self.transport.close()


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
