"""Connections that never become a request, and requests that never end: bounded, and nobody else notices."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import uvicorn

from local.connection_limits import LimitedHttpProtocol

pytestmark = pytest.mark.usefixtures("processes")

HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


@dataclass
class Running:
    """A server whose clock the test moves: nothing here depends on how fast this machine is."""

    port: int
    connections: list[Any] = field(default_factory=list)
    """The server's side of each, in order; `arrived` counts its bytes."""

    def took(self, size: int) -> Any:
        """The newest connection, once so many bytes of it have arrived."""
        deadline = time.monotonic() + 60
        while not self.connections or self.connections[-1].arrived < size:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return self.connections[-1]

    def later(self, connection: Any) -> None:
        """An hour passes for a connection."""
        done = threading.Event()

        def pass_time() -> None:
            if connection._request_began is not None:
                connection._request_began -= 3600
            connection._check_time()
            done.set()

        connection.loop.call_soon_threadsafe(pass_time)
        assert done.wait(60)


@pytest.fixture
def start(processes: None) -> Iterator[Callable[..., Running]]:
    """`start(max_connections=…)` gives a server with limits; it answers the body's size, or at once if `early`."""
    stops: list[Callable[[], None]] = []

    async def app(scope: Any, receive: Any, send: Any, early: bool) -> None:
        size, more = 0, not early
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"early" if early else str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def run(early: bool = False, **bounds: Any) -> Running:
        listening = socket.create_server(("127.0.0.1", 0))
        running = Running(int(listening.getsockname()[1]))

        class Protocol(LimitedHttpProtocol):
            arrived = 0

            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                running.connections.append(self)

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.arrived += len(data)

        for name, value in {"max_seconds": 3000.0, **bounds}.items():
            setattr(Protocol, name, value)
        config = uvicorn.Config(
            partial(app, early=early), interface="asgi3", http=Protocol, ws="none", lifespan="off", log_level="error"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: server.run([listening]))
        thread.start()

        def stop() -> None:
            server.should_exit = server.force_exit = True
            thread.join()
            listening.close()

        stops.append(stop)
        return running

    yield run
    for stop in stops:
        stop()


def connect(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), 60)


def until_closed(sock: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := sock.recv(65536):
            received += chunk
    except ConnectionError:
        pass
    return received


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n" + HOST + b"\r\n123",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n3\r\nabc\r\n",
    ],
)
def test_half_a_request_is_not_waited_for(start: Callable[..., Running], sent: bytes) -> None:
    running = start()
    with connect(running) as sock:
        sock.sendall(sent)
        running.later(running.took(len(sent)))
        answered = until_closed(sock)
    assert answered.count(b"HTTP/1.1 ") == answered.count(b"HTTP/1.1 408 ") == 1
    assert b"the request was incomplete" in answered


@pytest.mark.parametrize("rest", [b"G", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n123"])
def test_nor_behind_a_whole_one(start: Callable[..., Running], rest: bytes) -> None:
    running = start()
    with connect(running) as sock:
        sock.sendall(GET + rest)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        running.later(running.took(len(GET + rest)))
        assert until_closed(sock).startswith(b"HTTP/1.1 408")


def test_a_trickle_gains_no_time(start: Callable[..., Running]) -> None:
    running = start()
    with connect(running) as sock:
        sent, began = 0, set()
        for part in (b"POST / HT", b"TP/1.1\r\nX: ", b"a\r\n", b"Content-Length: 10\r\n\r\n", b"1", b"2", b"3"):
            sock.sendall(part)
            sent += len(part)
            began.add(running.took(sent)._request_began)
        assert len(began) == 1
        assert None not in began


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 40_000,
        b"GET /" + b"a" * 200_000,
        b"\r\n" * 100_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n0\r\n" + b"X: a\r\n" * 40_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n3;" + b"a" * 200_000,
    ],
)
def test_a_head_without_end(start: Callable[..., Running], sent: bytes) -> None:
    running = start(max_head_bytes=20_000)
    with connect(running) as sock:
        try:
            sock.sendall(sent)
        except OSError:
            return  # closed already
        answered = until_closed(sock)
    assert answered == b"" or b" 431 " in answered or b" 400 " in answered


def test_a_large_body_is_no_large_head(start: Callable[..., Running]) -> None:
    running = start(max_head_bytes=20_000)
    body = b"x" * 500_000
    with connect(running) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 500000\r\n" + HOST + b"\r\n" + body)
        assert until_closed(sock).endswith(b"\r\n\r\n500000")
    with connect(running) as sock:
        chunked = b"".join(b"1f4\r\n" + b"x" * 500 + b"\r\n" for _ in range(1000)) + b"0\r\n\r\n"
        head = b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n"
        sock.sendall(head + chunked)
        assert until_closed(sock).endswith(b"\r\n\r\n500000")


def test_a_connection_too_many(start: Callable[..., Running]) -> None:
    running = start(max_connections=3)
    held = [connect(running) for _ in range(3)]
    try:
        for sock in held:
            sock.sendall(GET)
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        with connect(running) as late:
            assert b" 503 " in until_closed(late)
        held.pop().close()
        while True:  # until the server has seen it go
            with connect(running) as second:
                second.sendall(GET)
                if (answer := second.recv(4096)).startswith(b"HTTP/1.1 200"):
                    break
                assert b" 503 " in answer or answer == b""
    finally:
        for sock in held:
            sock.close()


def test_many_requests_on_one_connection_outlive_the_bound(start: Callable[..., Running]) -> None:
    """The bound is a request's, not a connection's."""
    running = start()
    with connect(running) as sock:
        for count in range(1, 4):
            sock.sendall(GET)
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
            running.later(running.took(count * len(GET)))


def test_an_answer_before_the_end_of_the_body_is_not_lost(start: Callable[..., Running]) -> None:
    """What still comes is thrown away, and then the connection goes on."""
    running = start(early=True)
    body = b"x" * 3_000_000
    with connect(running) as sock:
        for _ in range(2):
            sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n" + HOST + b"\r\n" + body)
            assert sock.recv(4096).endswith(b"early")
    with connect(running) as sock:
        sent = b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n" + HOST + b"\r\nx"
        sock.sendall(sent)
        answered = sock.recv(4096)
        running.later(running.took(len(sent)))
        assert (answered + until_closed(sock)).count(b"HTTP/1.1 ") == 1
