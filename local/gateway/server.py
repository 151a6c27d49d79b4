"""The gateway: two listeners, the control socket, and a graceful shutdown."""

from __future__ import annotations

import asyncio
import functools
import logging
import resource
from typing import Self

import aiohttp

from local.gateway.client_connection import ClientConnection
from local.gateway.context import GatewayContext
from local.gateway.control_server import ControlServer
from local.gateway.payload_logger import PayloadLogger
from local.gateway.routing import Listener, locate
from local.gateway.settings import Settings
from local.gateway.stream import Stream
from local.ports import cannot_listen

log = logging.getLogger("gateway")

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Gateway:
    """`async with Gateway(settings):` serves until it exits, after requests in flight have been answered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[Listener, set[ClientConnection]] = {"external": set(), "internal": set()}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """OSError if a port is in use."""
        settings = self._settings
        self._connection_limit = _raise_file_limit(settings.max_connections)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=1.0), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._context = GatewayContext(settings, PayloadLogger(self._session, self._locate))
        self._control = ControlServer(self._context)
        self._servers: list[asyncio.Server] = []
        try:
            for listener, port in (("external", settings.port), ("internal", settings.internal_port)):
                self._servers.append(await self._listen(listener, port))  # type: ignore[arg-type]
            await self._control.start(settings.socket)
        except OSError:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._context.stopping = True
        for server in self._servers:
            server.close()
        for client in {*self._clients["external"], *self._clients["internal"]}:
            if client.idle and client.task:
                client.task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.grace)
        await self._close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await self._context.logger.close()
        await self._control.stop()
        self._context.upstreams.close()
        await self._session.close()

    async def _listen(self, listener: Listener, port: int) -> asyncio.Server:
        host = self._settings.host if listener == "external" else "127.0.0.1"
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(
                lambda: Stream(functools.partial(self._accept, listener)), host, port, backlog=1024, reuse_address=True
            )
        except OSError as error:
            raise cannot_listen(host, port, error) from None

    def _accept(self, listener: Listener, stream: Stream) -> None:
        clients = self._clients[listener]
        if len(clients) >= self._connection_limit:
            idle = [client for client in clients if client.idle]
            longest_idle = min(idle, key=lambda client: client.idle_since, default=None)
            if longest_idle is None or longest_idle.task is None:
                stream.transport.write(_BUSY)
                stream.transport.close()
                return
            clients.discard(longest_idle)  # its task ends a moment later
            longest_idle.task.cancel()
        client = ClientConnection(stream, listener, self._context)
        clients.add(client)
        client.task = asyncio.create_task(client.run())
        self._tasks.add(client.task)
        client.task.add_done_callback(functools.partial(self._client_done, client, listener))

    def _client_done(self, client: ClientConnection, listener: Listener, task: asyncio.Task[None]) -> None:
        self._clients[listener].discard(client)
        self._tasks.discard(task)

    def _locate(self, url: str) -> tuple[str, str]:
        return locate(url, self._context.current.addresses, f"127.0.0.1:{self._settings.internal_port}")


def _raise_file_limit(connections: int) -> int:
    """How many connections per listener the process may have, each with one to a replica; raises the soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 4 * connections + 128
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(8, min(connections, (soft - 128) // 4))
