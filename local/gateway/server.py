"""The gateway: two listeners, the controller's socket, and an orderly end."""

from __future__ import annotations

import asyncio
import functools
import logging
import resource
from typing import Self

import aiohttp

from local.gateway.client import Client
from local.gateway.control import Control
from local.gateway.exchange import Shared
from local.gateway.link import Link
from local.gateway.payloads import PayloadLogger
from local.gateway.routing import Listener, internal_url
from local.gateway.settings import Settings
from local.serving.hosts import reachable

log = logging.getLogger("gateway")

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Gateway:
    """`async with Gateway(settings):` serves until it is left; then what is under way is answered first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[Listener, set[Client]] = {"outer": set(), "inner": set()}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """OSError when a port is taken."""
        settings = self._settings
        self._most = _connections(settings.max_connections)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=1.0), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._shared = Shared(settings, PayloadLogger(self._session, self._locate))
        self._control = Control(self._shared)
        self._servers: list[asyncio.Server] = []
        try:
            for listener, port in (("outer", settings.port), ("inner", settings.internal_port)):
                self._servers.append(await self._listen(listener, port))  # type: ignore[arg-type]
            await self._control.start(settings.socket)
        except OSError:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._shared.stopping = True
        for server in self._servers:
            server.close()
        for client in {*self._clients["outer"], *self._clients["inner"]}:
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
        await self._shared.logger.close()
        await self._control.stop()
        self._shared.upstreams.close()
        await self._session.close()

    async def _listen(self, listener: Listener, port: int) -> asyncio.Server:
        host = self._settings.host if listener == "outer" else "127.0.0.1"
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(
                lambda: Link(functools.partial(self._accept, listener)), host, port, backlog=1024, reuse_address=True
            )
        except OSError as error:
            reason = f"cannot listen on {host}:{port}: {error.strerror}; choose another port"
            raise OSError(error.errno, reason) from None

    def _accept(self, listener: Listener, link: Link) -> None:
        clients = self._clients[listener]
        if len(clients) >= self._most:
            idle = [client for client in clients if client.idle]
            waiting = min(idle, key=lambda client: client.idle_since, default=None)
            if waiting is None or waiting.task is None:
                link.transport.write(_BUSY)
                link.transport.close()
                return
            clients.discard(waiting)  # its task ends a moment later
            waiting.task.cancel()
        client = Client(link, listener, self._shared)
        clients.add(client)
        client.task = asyncio.create_task(client.run())
        self._tasks.add(client.task)
        client.task.add_done_callback(functools.partial(self._gone, client, listener))

    def _gone(self, client: Client, listener: Listener, task: asyncio.Task[None]) -> None:
        self._clients[listener].discard(client)
        self._tasks.discard(task)

    def _locate(self, url: str) -> tuple[str, str]:
        """A cluster URL as (URL here, Host header): by `addresses`, or through the inner listener."""
        here = reachable(url, dict(self._shared.current.addresses))
        return internal_url(here, f"127.0.0.1:{self._settings.internal_port}") if here == url else (here, "")


def _connections(wanted: int) -> int:
    """As many of each listener as the process may have open, with one to a replica for each; raises the soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 4 * wanted + 128
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(8, min(wanted, (soft - 128) // 4))
