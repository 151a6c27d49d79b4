"""What a client can make the gateway hold, wait for or count: bounded, and no failure of the version."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gateway_cases import OK, TEXT, Rig, read_message, request, rig
from polling import until

from local.gateway import payload_recorder
from local.gateway.http_message import FREE_CHUNKS, is_mostly_framing
from local.gateway.payload_logger import LoggerSpec

pytestmark = pytest.mark.usefixtures("processes")

SMALL = 64 * 1024


@pytest.mark.parametrize(
    "raw",
    [
        request(b"", "none", b"Content-Length: %d" % (SMALL + 1)),
        request(b"x" * (SMALL + 1), "chunked"),
        request(b"x" * (40 * SMALL), "length"),
    ],
)
async def test_a_body_beyond_the_limit_is_refused(tmp_path: Path, raw: bytes) -> None:
    async with rig(tmp_path, max_body=SMALL) as made:
        answer = await made.exchange(raw)
        assert answer.status == 413
        assert json.loads(answer.body) == {"error": f"the body exceeds the limit of {SMALL} bytes"}
        assert (await made.exchange(request(b"x" * SMALL, "length"))).status == 200
        assert (await made.exchange(request(b"x" * SMALL, "chunked"))).status == 200
        assert [len(message.body) for message in made.upstream.seen] == [SMALL, SMALL]


async def test_bodies_are_bounded_together_and_given_back(tmp_path: Path) -> None:
    async with rig(tmp_path, max_buffered=SMALL) as made:
        async with made.connect() as (_, writer):
            writer.write(request(b"x" * SMALL, "length")[:-1])
            await until(lambda: made.gateway._context.buffered_bytes >= SMALL - 1)
            answer = await made.exchange(request(b"xx", "length"))
            assert (answer.status, answer.get("retry-after")) == (503, b"1")
        await until(lambda: not made.gateway._context.buffered_bytes)
        assert (await made.exchange(request(b"xx", "length"))).status == 200


@pytest.mark.parametrize("half", [b"POST /v1 HTTP/1.1\r\nHost: 127", request(b"abc", "length")[:-1], b"G"])
async def test_half_a_request_is_not_waited_for(tmp_path: Path, half: bytes) -> None:
    async with rig(tmp_path, head_timeout=0.1, body_timeout=0.1) as made, made.connect() as (reader, writer):
        writer.write(half)
        answer = await read_message(reader)
        assert (answer.status, answer.get("connection")) == (408, b"close")
        assert await reader.read() == b""
        assert made.upstream.seen == []


async def test_an_idle_connection_ends_without_a_word(tmp_path: Path) -> None:
    async with rig(tmp_path, idle_timeout=0.1) as made, made.connect() as (reader, writer):
        writer.write(request())
        assert (await read_message(reader)).status == 200
        assert await reader.read() == b""


@pytest.mark.parametrize(("line", "status"), [(b"GET /" + b"x" * 70_000, 431), (b"X-" + b"y" * 70_000 + b": 1", 431)])
async def test_a_head_beyond_the_limit_is_refused(gateway: Rig, line: bytes, status: int) -> None:
    first = line + b" HTTP/1.1" if line.startswith(b"GET") else b"GET / HTTP/1.1\r\n" + line
    answer = await gateway.exchange(first + b"\r\nHost: 127.0.0.1\r\n\r\n")
    assert (answer.status, answer.get("connection")) == (status, b"close")


async def test_too_many_connections(tmp_path: Path) -> None:
    """One that waits for nothing makes room; where all are at work, a further one is refused."""
    async with rig(tmp_path, max_connections=8) as made:
        made.upstream.hold = asyncio.Event()
        async with made.connect() as (idle, writer):
            writer.write(request(method=b"GET", host=b"nobody.d.localhost"))
            assert (await read_message(idle)).status == 404
            busy = [asyncio.create_task(made.exchange(request())) for _ in range(8)]
            await until(lambda: len(made.upstream.seen) >= 8)
            with contextlib.suppress(ConnectionResetError):
                assert await idle.read() == b""
        async with made.connect() as (reader, _):
            answer = await read_message(reader)
            assert (answer.status, answer.get("retry-after")) == (503, b"1")
        made.upstream.hold.set()
        assert {(await task).status for task in busy} == {200}


async def test_at_the_end_what_is_under_way_is_answered(gateway: Rig) -> None:
    gateway.upstream.hold = asyncio.Event()
    async with gateway.connect() as (idle, idle_writer), gateway.connect() as (reader, writer):
        idle_writer.write(request(method=b"GET", host=b"nobody.d.localhost"))
        await read_message(idle)
        writer.write(request(TEXT, "length"))
        await until(lambda: gateway.upstream.seen)
        leaving = asyncio.create_task(gateway.gateway.__aexit__())
        with contextlib.suppress(ConnectionResetError):
            assert await idle.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", gateway.port)
        gateway.upstream.hold.set()
        answer = await read_message(reader)
        assert (answer.status, answer.body, answer.get("connection")) == (200, b"ok", b"close")
        assert await reader.read() == b""
        await leaving


@pytest.mark.parametrize(
    ("chunks", "size", "refused"),
    [(FREE_CHUNKS, FREE_CHUNKS, False), (FREE_CHUNKS * 2, FREE_CHUNKS * 2, True), (100_000, 4 * 2**20, False)],
)
def test_a_body_of_nothing_but_framing_is_refused(chunks: int, size: int, refused: bool) -> None:
    assert is_mostly_framing(chunks, size) is refused


async def sink(events: list[Any], request: web.Request) -> web.Response:
    events.append((request.headers, await request.read()))
    return web.Response(status=202)


@pytest.fixture
async def logged(tmp_path: Path, processes: None) -> AsyncIterator[tuple[Rig, list[Any]]]:
    """A gateway whose service is logged, and the events of it."""
    events: list[Any] = []
    app = web.Application()
    app.router.add_post("/", partial(sink, events))
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    target = LoggerSpec(url, "all", "m", "d", "predictor", "", (), {"coding-mcqa/model-version": "7"})
    async with rig(tmp_path, target, max_body=SMALL, body_timeout=0.2, head_timeout=0.2) as made:
        yield made, events
    await runner.cleanup()


BROKEN = {
    "over-long": request(b"x" * (SMALL + 1), "length"),
    "over-long, in chunks": request(b"x" * (SMALL + 1), "chunked"),
    "half a head": b"POST /v1 HT",
    "half a body": request(b"abcdef", "length")[:-2],
    "a bad chunk": request(b"", "none", b"Transfer-Encoding: chunked") + b"zz\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "two lengths": request(b"abc", "length", b"Content-Length: 3"),
    "nobody's host": request(b"abc", "length", host=b"nobody.d.localhost"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
async def test_a_broken_request_is_no_failure_of_the_version(
    logged: tuple[Rig, list[Any]], case: str, leaves: bool
) -> None:
    made, events = logged
    async with made.connect() as (reader, writer):
        writer.write(BROKEN[case])
        if not leaves:
            assert (await read_message(reader)).status >= 400
    await _settled(made, events, 0)


async def test_a_client_that_leaves_is_no_failure_of_the_version(logged: tuple[Rig, list[Any]]) -> None:
    made, events = logged
    made.upstream.hold = asyncio.Event()
    async with made.connect() as (_, writer):
        writer.write(request(TEXT, "length"))
        await until(lambda: made.upstream.seen)
        writer.transport.abort()
    await made.report(lambda report: not report.in_flight)
    made.upstream.hold.set()
    await _settled(made, events, 0)


@pytest.mark.parametrize(
    ("begins", "leaves", "types"),
    [
        (True, True, []),  # who stops reading an explanation
        (True, False, ["request"]),  # the replica breaks off
        (False, True, ["request"]),  # it hangs, until nobody waits any more
    ],
)
async def test_a_stream_that_does_not_reach_its_end(
    logged: tuple[Rig, list[Any]], monkeypatch: pytest.MonkeyPatch, begins: bool, leaves: bool, types: list[str]
) -> None:
    made, events = logged
    monkeypatch.setattr(payload_recorder, "SLOW_SECONDS", 0.05)
    left, replica = asyncio.Event(), made.state.revisions
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(head if begins else b"")
        if leaves:
            await reader.read()  # to the end: the gateway has closed the connection
            left.set()
        else:
            await asyncio.sleep(0.2)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        replicas = {"r-2": server.sockets[0].getsockname()[1]}
        await made.push(revisions={key: replace(state, replicas=replicas) for key, state in replica.items()})
        async with made.connect() as (reader, writer):
            writer.write(request(TEXT, "length"))
            if begins:
                await reader.readuntil(b":\n\n")
            await asyncio.sleep(0.2)  # longer than what counts as slow
            if not leaves:
                with contextlib.suppress(ConnectionResetError):
                    assert b"0\r\n\r\n" not in await reader.read(), "an aborted response has no end"
            writer.transport.abort()
        if leaves:
            await asyncio.wait_for(left.wait(), 10)
    await made.push(revisions=replica)
    await _settled(made, events, len(types))
    assert [headers["ce-type"].rpartition(".")[2] for headers, _ in events] == types


@pytest.mark.parametrize(
    ("answer", "types"),
    [
        (OK, ["request", "response"]),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", ["request"]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", ["request"]),
        (None, ["request"]),
    ],
)
async def test_what_a_replica_does_wrong_is(logged: tuple[Rig, list[Any]], answer: Any, types: Any) -> None:
    made, events = logged
    made.upstream.answer, made.upstream.closes = (lambda message: answer), True
    await made.exchange(request(TEXT, "length"))
    await _settled(made, events, len(types))
    assert sorted(headers["ce-type"].rpartition(".")[2] for headers, _ in events) == types


async def test_a_probe_is_not_logged(logged: tuple[Rig, list[Any]]) -> None:
    made, events = logged
    assert (await made.exchange(request(b"", "none", b"User-Agent: kube-probe/1.32", method=b"GET"))).status == 200
    await _settled(made, events, 0)


async def _settled(made: Rig, events: list[Any], count: int) -> None:
    """A good request afterwards: its two events come after all that the case could have sent."""
    made.upstream.answer, made.upstream.closes = (lambda message: OK), False
    assert (await made.exchange(request(b"{}", "length", b"ce-id: last"))).status == 200
    await until(lambda: sum(headers["ce-id"] == "last" for headers, _ in events) == 2)
    await made.gateway._context.logger._queue.join()
    events[:] = [event for event in events if event[0]["ce-id"] != "last"]
    assert len(events) == count


@pytest.mark.parametrize("content_type", [b"application/json", b"application/cloudevents+json"])
async def test_a_compressed_body_is_logged_as_it_was_sent(logged: tuple[Rig, list[Any]], content_type: Any) -> None:
    """As KServe's agent: the bytes as they came, and no Content-Encoding; collect tells by the first bytes.

    Of the type only this differs: a body that is an event itself must not become the event that is sent.
    """
    made, events = logged
    body = gzip.compress(TEXT)
    raw = request(body, "length", b"Content-Type: " + content_type, b"Content-Encoding: gzip")
    assert (await made.exchange(raw)).status == 200
    await _settled(made, events, 2)
    headers, reported = next(event for event in events if event[0]["ce-type"].endswith("request"))
    assert (reported, "content-encoding" in headers, headers["content-type"]) == (body, False, "application/json")
