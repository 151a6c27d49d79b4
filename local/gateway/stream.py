"""A TCP connection that is read on demand, buffers little, and reports when the other side disconnects.

Hand-written: asyncio's StreamReader does not report a disconnect while nobody reads, and costs more per request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

HIGH_WATER = 64 * 1024


class Stream(asyncio.Protocol):
    """`on_disconnect` is called when the other side closes its half of the connection (`ended`) or all (`lost`)."""

    def __init__(self, on_open: Callable[[Stream], None] | None = None) -> None:
        self._on_open = on_open
        self._buffer = bytearray()
        self._read_waiter: asyncio.Future[None] | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self._paused = False
        self.transport: asyncio.Transport
        self.ended = False  # no more bytes will come
        self.lost = False
        self.on_disconnect: Callable[[], object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if (sock := transport.get_extra_info("socket")) is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._on_open:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > HIGH_WATER and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        _wake(self._read_waiter)

    def eof_received(self) -> bool:
        self._end()
        return True  # the response may still be sent

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        _wake(self._write_waiter)
        self._end()

    def pause_writing(self) -> None:
        self._write_waiter = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        _wake(self._write_waiter)
        self._write_waiter = None

    def _end(self) -> None:
        self.ended = True
        _wake(self._read_waiter)
        if self.on_disconnect:
            self.on_disconnect()

    @property
    def reusable(self) -> bool:
        """Whether it is open with nothing unread, and so ready for another request."""
        return not self.ended and not self._buffer and not self.transport.is_closing()

    async def receive(self) -> bytes:
        """What has arrived, at least one byte; b"" at the end."""
        while not self._buffer and not self.ended:
            self._read_waiter = asyncio.get_running_loop().create_future()
            try:
                await self._read_waiter
            finally:
                self._read_waiter = None
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._paused and not self.ended:
            self._paused = False
            self.transport.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Sends without waiting, for data that is bounded and in memory anyway."""
        if self.lost:
            raise ConnectionResetError("the connection is closed")
        self.transport.write(data)

    async def send(self, data: bytes, seconds: float) -> None:
        """Sends, and waits while the other side does not read; ConnectionResetError, TimeoutError."""
        self.write(data)
        if self._write_waiter is not None:
            async with asyncio.timeout(seconds):
                await self._write_waiter
            if self.lost:
                raise ConnectionResetError("the connection is closed")

    async def linger(self, seconds: float) -> None:
        """Closes so that the last response arrives: what the other side still sends is discarded for a while.

        Closing at once would reset the connection, and a client that is still sending would never see the response.
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
