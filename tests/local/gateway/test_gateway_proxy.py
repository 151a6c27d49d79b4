"""What arrives is what was sent, byte for byte, in both directions; what can be read in two ways is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway_cases import CODINGS, OK, TEXT, Rig, read_message, request, rig

from local.gateway.control_protocol import RevisionState

pytestmark = pytest.mark.usefixtures("processes")


@pytest.mark.parametrize("closed", [False, True], ids=["kept", "closed"])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("framing", ["chunked", "length", "none"])
async def test_a_request_arrives_as_it_was_sent(gateway: Rig, framing: str, coding: str, closed: bool) -> None:
    name, body = CODINGS[coding]
    body = b"" if framing == "none" else body
    headers = [b"Content-Type: application/json", *([b"Content-Encoding: " + name] if name else [])]
    headers += [b"Connection: close"] if closed else []
    gateway.upstream.answer = lambda message: (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(message.body), message.body)
    )
    async with gateway.connect() as (reader, writer):
        writer.write(request(body, framing, *headers))
        answer = await read_message(reader)
        assert (answer.status, answer.body) == (200, body)
        if closed:
            assert await reader.read() == b""
    async with gateway.connect() as (reader, writer):
        if not closed:  # the next one on the very connection that carried it
            writer.write(request(body, framing, *headers))
            assert (await read_message(reader)).body == body
        writer.write(request(b"mine", "length"))
        answer = await read_message(reader)
        assert (answer.status, answer.body) == (200, b"mine")
    seen = gateway.upstream.seen
    for message in seen[:-1]:
        assert (message.start, message.framing, message.body) == (b"POST /v1 HTTP/1.1", framing, body)
        assert message.get("content-encoding") == (name or None)
        assert message.get("content-type") == b"application/json"
        assert message.get("connection") is None
    assert (seen[-1].body, len(seen)) == (b"mine", 2 if closed else 3)


ANSWERS = {
    "length": (b"200 OK\r\nContent-Length: 5\r\n\r\nabcde", b"abcde", "length"),
    "empty": (b"200 OK\r\nContent-Length: 0\r\n\r\n", b"", "length"),
    "chunked": (
        b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n",
        b"abcde",
        "chunked",
    ),
    "to the end": (b"200 OK\r\n\r\nabcde", b"abcde", "chunked"),
    "gzip": (b"200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8babc", b"\x1f\x8babc", "length"),
    "no content": (b"204 No Content\r\n\r\n", b"", "none"),
    "not modified": (b'304 Not Modified\r\nETag: "x"\r\nContent-Length: 5\r\n\r\n', b"", "length"),
    "hints": (b"103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz", b"z", "length"),
    "continue": (b"100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz", b"z", "length"),
    "large": (b"200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, b"x" * 3_000_000, "length"),
    "odd status": (
        b"418 I'm a teapot\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        b"",
        "length",
    ),
}


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("case", ANSWERS)
async def test_an_answer_arrives_as_it_was_sent(gateway: Rig, case: str, version: bytes) -> None:
    raw, body, framing = ANSWERS[case]
    gateway.upstream.answer = lambda message: b"HTTP/1.1 " + raw
    gateway.upstream.closes = case == "to the end"
    bodiless = case in ("no content", "not modified")
    async with gateway.connect() as (reader, writer):
        writer.write(request(method=b"GET", version=version))
        if case == "hints" and version == b"1.1":
            hints = await read_message(reader)
            assert (hints.status, hints.get("link")) == (103, b"</x>")
        answer = await read_message(reader, bodiless=bodiless, to_end=True)
        last = raw.rpartition(b"HTTP/1.1 ")[2]
        assert answer.start == b"HTTP/1.1 " + last.partition(b"\r\n")[0]
        assert answer.body == body
        lines = last.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        wanted = [tuple(line.split(b": ")) for line in lines if not line.startswith(b"Transfer-Encoding")]
        assert [
            pair for pair in answer.headers if pair[0].lower() not in (b"connection", b"transfer-encoding")
        ] == wanted
        if version == b"1.0":
            assert await reader.read() == b"", "an HTTP/1.0 client's connection ends with its answer"
            return
        assert answer.framing == framing
        gateway.upstream.answer, gateway.upstream.closes = (lambda message: OK), False
        writer.write(request())
        assert (await read_message(reader)).body == b"ok"


@pytest.mark.parametrize("raw", [b"Content-Length: 7\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_the_answer_to_head_has_no_body(gateway: Rig, raw: bytes) -> None:
    gateway.upstream.answer = lambda message: OK if message.start.startswith(b"GET") else b"HTTP/1.1 200 OK\r\n" + raw
    async with gateway.connect() as (reader, writer):
        writer.write(request(method=b"HEAD"))
        answer = await read_message(reader, bodiless=True)
        assert answer.status == 200
        assert raw.strip().lower() in [name.lower() + b": " + value for name, value in answer.headers]
        writer.write(request(method=b"GET"))
        assert (await read_message(reader)).body == b"ok"
        writer.write(request(method=b"HEAD", host=b"nobody.d.localhost"))
        assert (await read_message(reader, bodiless=True)).status == 404
        writer.write(request(method=b"GET"))
        assert (await read_message(reader)).body == b"ok"


async def test_trailers_arrive_in_both_directions(gateway: Rig) -> None:
    body = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
    gateway.upstream.answer = lambda message: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n1\r\nz\r\n0\r\nX-Back: 3\r\n\r\n"
    )
    async with gateway.connect() as (reader, writer):
        writer.write(request(b"", "none", b"Transfer-Encoding: chunked", b"Trailer: X-Sum") + body)
        answer = await read_message(reader)
    assert (answer.body, answer.trailers, answer.get("trailer")) == (b"z", [(b"X-Back", b"3")], b"X-Back")
    (seen,) = gateway.upstream.seen
    assert (seen.body, seen.trailers, seen.get("trailer")) == (b"abc", [(b"X-Sum", b"1"), (b"X-More", b"2")], b"X-Sum")


@pytest.mark.parametrize(
    "trailer",
    [
        b"Content-Length: 5",
        b"transfer-encoding: chunked",
        b"Host: evil",
        b"Content-Encoding: gzip",
        b"Upgrade: x",
        b"Connection: close",
        b"Authorization: Bearer x",
        b"ce-id: 1",
        b"X-Forwarded-Host: evil",
        b"Sec-Fetch-Site: none",
    ],
)
async def test_a_trailer_that_would_change_the_request_is_refused(gateway: Rig, trailer: bytes) -> None:
    """uvicorn reads trailers as headers: what was checked here would not be what is acted upon there."""
    async with gateway.connect() as (reader, writer):
        chunked = request(b"", "none", b"Transfer-Encoding: chunked")
        writer.write(chunked + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n" + trailer + b"\r\n\r\n" + request(method=b"GET"))
        answer = await read_message(reader)
        assert (answer.status, trailer.partition(b":")[0] in answer.body) == (400, True)
        assert (await read_message(reader)).body == b"ok"
    assert len(gateway.upstream.seen) == 1


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_client_that_waits_for_100_continue_gets_it(gateway: Rig, framing: str) -> None:
    head, _, body = request(b"abc", framing, b"Expect: 100-continue").partition(b"\r\n\r\n")
    async with gateway.connect() as (reader, writer):
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert gateway.upstream.seen == []
        writer.write(body)
        assert (await read_message(reader)).body == b"ok"
    assert (gateway.upstream.seen[0].body, gateway.upstream.seen[0].get("expect")) == (b"abc", None)


@pytest.mark.parametrize(
    ("headers", "host", "status"),
    [([b"Content-Length: 5000000"], b"127.0.0.1", 413), ([b"Content-Length: 5"], b"nobody.d.localhost", 404)],
)
async def test_who_waits_for_100_continue_is_refused_before_sending(
    gateway: Rig, headers: Any, host: Any, status: int
) -> None:
    answer = await gateway.exchange(request(b"", "none", b"Expect: 100-continue", *headers, host=host))
    assert (answer.status, answer.get("connection")) == (status, b"close")


async def test_pipelined_requests_are_answered_in_order(gateway: Rig) -> None:
    gateway.upstream.answer = lambda message: b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + message.body[:1]
    bodies = [bytes([letter]) * 50_000 for letter in b"abcdef"]
    raw = b"".join(request(body, "chunked" if i % 2 else "length") for i, body in enumerate(bodies))
    async with gateway.connect() as (reader, writer):
        writer.write(raw)
        assert [(await read_message(reader)).body for _ in bodies] == [body[:1] for body in bodies]
    assert [message.body for message in gateway.upstream.seen] == bodies


@pytest.mark.parametrize(
    ("target", "host", "seen", "named"),
    [
        (b"/a%2Fb?q=%20", b"m.d.localhost", b"/a%2Fb?q=%20", b"m.d.localhost"),
        (b"http://m.d.localhost/x?y", b"nobody.d.localhost", b"/x?y", b"m.d.localhost"),
        (b"http://127.0.0.1:80", b"127.0.0.1", b"/", b"127.0.0.1:80"),
        (b"HTTP://127.0.0.1?q", b"127.0.0.1", b"/?q", b"127.0.0.1"),
        (b"/-/services/d/m/p?q", b"localhost", b"/p?q", b"localhost"),
        (b"*", b"localhost", b"*", b"localhost"),
    ],
)
async def test_targets(gateway: Rig, target: Any, host: Any, seen: Any, named: Any) -> None:
    method = b"OPTIONS" if target == b"*" else b"GET"
    assert (await gateway.exchange(request(method=method, target=target, host=host))).status == 200
    (message,) = gateway.upstream.seen
    assert (message.start, message.get("host")) == (method + b" " + seen + b" HTTP/1.1", named)


async def test_hop_by_hop_headers_end_here_and_no_others(gateway: Rig) -> None:
    hop = [
        b"Connection: x-private, content-length",
        b"X-Private: 1",
        b"TE: trailers",
        b"Upgrade: h2c",
        b"Keep-Alive: 5",
    ]
    await gateway.exchange(request(b"abc", "length", *hop, b"x-KEPT: 2", b"X-Kept: 3", b"X-Forwarded-For: 1.2.3.4"))
    (message,) = gateway.upstream.seen
    names = [name.lower() for name, _ in message.headers]
    assert not {b"x-private", b"te", b"upgrade", b"keep-alive", b"connection"} & set(names)
    assert [pair for pair in message.headers if pair[0].lower() == b"x-kept"] == [(b"x-KEPT", b"2"), (b"X-Kept", b"3")]
    assert (message.body, message.get("x-forwarded-for")) == (b"abc", b"127.0.0.1")


HEAD = b"POST /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SMUGGLED = {
    "length and chunked": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same length twice": HEAD + b"Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc",
    "a list of lengths": HEAD + b"Content-Length: 3, 4\r\n\r\nabcd",
    "a signed length": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": HEAD + b"Content-Length: -3\r\n\r\nabc",
    "a hexadecimal length": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "a huge length": HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nabc",
    "a space before the colon": HEAD + b"Content-Length : 3\r\n\r\nabc",
    "a folded header": HEAD + b"X-A: 1\r\n Content-Length: 3\r\n\r\n",
    "a folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a first line that is folded": b"POST /v1 HTTP/1.1\r\n X: 1\r\nHost: 127.0.0.1\r\n\r\n",
    "bare LF": HEAD.replace(b"\r\n", b"\n") + b"\n",
    "one bare LF": HEAD + b"X-A: 1\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare CR": HEAD + b"X-A: 1\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a NUL": HEAD + b"X-A: 1\x00\r\n\r\n",
    "another coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": HEAD + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /v1 HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of 0x": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a signed chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "a negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "an indented chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
    "a chunk with LF": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "a chunk that is longer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
    "a chunk of 2^64": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 24 + b"\r\nabc\r\n0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: b\r\n\r\n",
    "a host that is none": b"GET / HTTP/1.1\r\nHost: 127.0.0.1/x\r\n\r\n",
    "another scheme": b"GET https://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a user in the target": b"GET http://a@127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "spaces in the target": b"GET / x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
}


@pytest.mark.parametrize("case", SMUGGLED)
async def test_what_can_be_read_in_two_ways_is_refused(gateway: Rig, case: str) -> None:
    """And with it what follows on the connection: nobody can say where it begins."""
    async with gateway.connect() as (reader, writer):
        writer.write(SMUGGLED[case] + request(b"", "none", target=b"/smuggled"))
        answer = await read_message(reader)
        assert answer.status in (400, 413, 501, 505)
        assert answer.get("connection") == b"close"
        assert "error" in json.loads(answer.body)
        assert await reader.read() == b""
    assert gateway.upstream.seen == []
    assert (await gateway.exchange(request())).status == 200


async def test_a_client_that_ends_its_half_is_answered(tmp_path: Path) -> None:
    async with rig(tmp_path, half_closed=60.0) as made, made.connect() as (reader, writer):
        writer.write(request(TEXT, "length") + request(TEXT, "chunked"))
        writer.write_eof()
        assert [(await read_message(reader)).body for _ in "ab"] == [b"ok", b"ok"]
        assert await reader.read() == b""


async def test_an_empty_line_before_a_request_is_nothing(gateway: Rig) -> None:
    async with gateway.connect() as (reader, writer):
        for _ in range(2):
            writer.write(b"\r\n" + request(b"abc", "length"))
            assert (await read_message(reader)).body == b"ok"


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (None, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", True),
        (b"nonsense\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 200_000, False),
    ],
)
async def test_a_replica_that_breaks_off_is_a_502_or_an_aborted_connection(
    gateway: Rig, answer: Any, whole: Any
) -> None:
    """Never an answer that looks whole."""
    gateway.upstream.answer, gateway.upstream.closes = (lambda message: answer), True
    if whole:
        assert (await gateway.exchange(request(b"abc", "length"))).status == 502
    else:
        with contextlib.suppress(ConnectionResetError, asyncio.IncompleteReadError):
            assert (await gateway.exchange(request(b"abc", "length"))).status == 502


async def test_a_connection_that_its_replica_closed_is_not_used_again(gateway: Rig) -> None:
    gateway.upstream.closes = True
    async with gateway.connect() as (reader, writer):
        for _ in range(5):
            writer.write(request(TEXT, "length"))
            assert (await read_message(reader)).status == 200


async def test_answers_stream(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        more = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_message(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await more.wait()
            writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            revisions = {key: _moved(state, port) for key, state in made.state.revisions.items()}
            await made.push(revisions=revisions)
            async with made.connect() as (reader, writer):
                writer.write(request(method=b"GET"))
                await reader.readuntil(b"one")
                more.set()
                await reader.readuntil(b"two\r\n0\r\n\r\n")


def _moved(state: RevisionState, port: int) -> RevisionState:
    return replace(state, replicas={"r-2": port})
