"""Connections that never become a request, and requests that never end: bounded, and nobody else notices."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import uvicorn

from local.connections import BoundedProtocol

HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """`start(seconds=…)` gives the port of a server with these bounds; it answers how much body came."""
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

    def run(early: bool = False, **bounds: Any) -> int:
        protocol = type("Bounded", (BoundedProtocol,), bounds)
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            partial(app, early=early), interface="asgi3", http=protocol, ws="none", lifespan="off", log_level="error"
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        thread = threading.Thread(target=lambda: server.run([listening]))
        thread.start()

        def stop() -> None:
            server.should_exit = server.force_exit = True
            thread.join()
            listening.close()

        stops.append(stop)
        return int(listening.getsockname()[1])

    yield run
    for stop in stops:
        stop()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 60)


def until_closed(sock: socket.socket) -> bytes:
    found = b""
    try:
        while chunk := sock.recv(65536):
            found += chunk
    except ConnectionError:
        pass
    return found


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n" + HOST + b"\r\n123",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n3\r\nabc\r\n",
        GET + b"GET / HTTP/1.1\r\n",  # behind a whole one
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n" + HOST + b"\r\n1POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n123",
    ],
)
def test_half_a_request_is_not_waited_for(start: Callable[..., int], sent: bytes) -> None:
    port = start(seconds=0.3)
    with connect(port) as sock:
        sock.sendall(sent)
        answered = until_closed(sock)
    assert answered.count(b" 408 ") == 1
    assert b"the request was not whole" in answered


def test_a_trickle_is_not_waited_for_either(start: Callable[..., int]) -> None:
    port = start(seconds=0.5)
    with connect(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        ended = threading.Event()

        def trickle() -> None:
            try:
                while not ended.wait(0.05):
                    sock.sendall(b"a")
            except OSError:
                pass

        thread = threading.Thread(target=trickle)
        thread.start()
        answered = until_closed(sock)
        ended.set()
        thread.join()
    # Closed while still being sent to, the kernel may drop the answer.
    assert answered == b"" or b" 408 " in answered


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
def test_a_head_without_end(start: Callable[..., int], sent: bytes) -> None:
    port = start(head_bytes=20_000)
    with connect(port) as sock:
        try:
            sock.sendall(sent)
        except OSError:
            return  # closed already
        answered = until_closed(sock)
    assert answered == b"" or b" 431 " in answered or b" 400 " in answered


def test_a_large_body_is_no_large_head(start: Callable[..., int]) -> None:
    port = start(head_bytes=20_000)
    body = b"x" * 500_000
    with connect(port) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 500000\r\n" + HOST + b"\r\n" + body)
        assert until_closed(sock).endswith(b"\r\n\r\n500000")
    with connect(port) as sock:
        chunked = b"".join(b"1f4\r\n" + b"x" * 500 + b"\r\n" for _ in range(1000)) + b"0\r\n\r\n"
        head = b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n"
        sock.sendall(head + chunked)
        assert until_closed(sock).endswith(b"\r\n\r\n500000")


def test_a_connection_too_many(start: Callable[..., int]) -> None:
    port = start(most=3)
    held = [connect(port) for _ in range(3)]
    try:
        for sock in held:
            sock.sendall(GET)
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        with connect(port) as late:
            assert b" 503 " in until_closed(late)
        held.pop().close()
        while True:  # until the server has seen it go
            with connect(port) as again:
                again.sendall(GET)
                if (answer := again.recv(4096)).startswith(b"HTTP/1.1 200"):
                    break
                assert b" 503 " in answer or answer == b""
    finally:
        for sock in held:
            sock.close()


def test_many_requests_on_one_connection_outlive_the_bound(start: Callable[..., int]) -> None:
    """The bound is a request's, not a connection's."""
    port = start(seconds=0.2)
    with connect(port) as sock:
        for _ in range(10):
            sock.sendall(GET)
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
            threading.Event().wait(0.05)


def test_an_answer_before_the_end_of_the_body_is_not_lost(start: Callable[..., int]) -> None:
    """What still comes is thrown away, and then the connection goes on."""
    port = start(early=True)
    body = b"x" * 3_000_000
    with connect(port) as sock:
        for _ in range(2):
            sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n" + HOST + b"\r\n" + body)
            assert sock.recv(4096).endswith(b"early")
    with connect(start(early=True, seconds=0.3)) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n" + HOST + b"\r\nx")
        assert until_closed(sock).count(b"HTTP/1.1 ") == 1
