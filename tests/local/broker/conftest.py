"""Real parts: a broker and subscribers, each behind its own HTTP server on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from polling import until
from uvicorn.server import ServerState

from local.broker.app import BrokerApp
from local.broker.service import BrokerService
from local.broker.settings import Settings

BINARY = {"ce-specversion": "1.0", "ce-source": "/test", "ce-type": "test.type"}


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers.get("ce-id") or json.loads(self.body)["id"]


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Subscriber:
    """Records what it gets. `respond` gives the answer for a request and its place, from 0; async ones may wait."""

    url: str = ""
    respond: Callable[[Request, int], Answer | Awaitable[Answer]] = lambda request, n: (202, {}, b"")
    requests: list[Request] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.requests]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.requests.append(Request(scope["path"].removeprefix(scope["root_path"]), headers, body))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        answer = self.respond(self.requests[-1], len(self.requests) - 1)
        try:
            status, extra, content = await answer if inspect.isawaitable(answer) else answer
        finally:
            self.in_flight -= 1
        raw = [(name.encode(), value.encode()) for name, value in extra.items()]
        raw.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})


@dataclass
class Running:
    """A broker that runs, with the Broker default/default applied."""

    service: BrokerService
    url: str
    client: httpx2.AsyncClient

    async def send(
        self, id: str, body: bytes = b"", broker: str = "default/default", **headers: str
    ) -> httpx2.Response:
        """One event in binary mode; keyword `ce_x` is the header ce-x."""
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"{self.url}/{broker}", content=body, headers={**BINARY, "ce-id": id, **own})

    async def broker(self, name: str = "default", **spec: Any) -> None:
        await self.service.apply({"kind": "Broker", "metadata": {"name": name}, "spec": spec})

    async def trigger(self, name: str, url: str, **spec: Any) -> None:
        spec = {"broker": "default", "subscriber": {"uri": url}, **spec}
        await self.service.apply({"kind": "Trigger", "metadata": {"name": name}, "spec": spec})

    async def get(self, path: str) -> Any:
        response = await self.client.get(f"{self.url}/-/{path}")
        assert response.status_code == 200, response.text
        return response.json()

    async def idle(self) -> None:
        """Until no delivery waits any more."""
        await until(lambda: all(depth == 0 for _, depth in self.service._depths()))
        await self.service.store.flush()


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The URL of an ASGI application's server: uvicorn's protocol without its Server, which stops in steps of 0.1 s."""
    config = uvicorn.Config(app, lifespan="off", log_level="error")
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    protocol: Any = config.http_protocol_class
    server = await loop.create_server(
        lambda: protocol(config=config, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0
    )
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()


@contextlib.asynccontextmanager
async def running(database: Path, **settings: Any) -> AsyncIterator[Running]:
    service = BrokerService(Settings(database, **{"grace": 0.2, **settings}))
    async with service, serving(BrokerApp(service)) as url, httpx2.AsyncClient(timeout=30) as client:
        broker = Running(service, url, client)
        if not service.has_broker("default", "default"):
            await broker.broker(delivery={"retry": 3, "backoffPolicy": "exponential", "backoffDelay": "PT0.01S"})
        yield broker


@pytest.fixture
async def broker(tmp_path: Path, processes: None) -> AsyncIterator[Running]:
    async with running(tmp_path / "broker.db") as actual:
        yield actual


@pytest.fixture
def start_broker(tmp_path: Path, processes: None) -> Callable[..., contextlib.AbstractAsyncContextManager[Running]]:
    """A broker on the test's one database: `async with start_broker(window=5) as broker`."""
    return lambda **settings: running(tmp_path / "broker.db", **settings)


@pytest.fixture
async def subscribe(processes: None) -> AsyncIterator[Callable[..., Awaitable[Subscriber]]]:
    """`await subscribe(respond)` gives a subscriber; all of a test share a server, each under a path of its own."""
    subscribers: dict[str, Subscriber] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        root = "/" + scope["path"].split("/")[1]
        await subscribers[root]({**scope, "root_path": root}, receive, send)

    async with serving(app) as url:

        async def start(respond: Any = None) -> Subscriber:
            root = f"/s{len(subscribers)}"
            subscribers[root] = Subscriber(f"{url}{root}")
            if respond is not None:
                subscribers[root].respond = respond
            return subscribers[root]

        yield start


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[None]]:
    return until
