"""Content-Encoding of events and of replies: what is acknowledged reaches subscribers readable, or it is refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polling import until

pytestmark = pytest.mark.usefixtures("processes")

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "wire"
DATA = {"answer": "é" * 300, "n": 1}
PLAIN = json.dumps(DATA, ensure_ascii=False).encode()
BINARY = {
    "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/test", "ce-type": "t", "content-type": "application/json",
}  # fmt: skip
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/test", "type": "t", "data": DATA}
MODES: dict[str, tuple[dict[str, str], bytes]] = {
    "binary": (BINARY, PLAIN),
    "structured": (STRUCTURED, json.dumps(EVENT).encode()),
    "batched": (BATCHED, json.dumps([EVENT]).encode()),
}


def bare_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(body) + made.flush()


def members(body: bytes) -> bytes:
    return b"".join(gzip.compress(body[at : at + 100]) for at in range(0, len(body), 100))


CODED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "none": ("", bytes),
    "identity": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "GZIP": ("GZip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip members": ("gzip", members),
    "deflate": ("deflate", zlib.compress),
    "deflate, fast": ("deflate", lambda body: zlib.compress(body, 1)),
    "deflate, bare": ("deflate", bare_deflate),
    "two": ("gzip, deflate", lambda body: zlib.compress(gzip.compress(body))),
    "with identity": ("identity, gzip", gzip.compress),
}


async def post(broker: Any, headers: dict[str, str], coding: str, body: bytes) -> Any:
    sent = {**headers, **({"content-encoding": coding} if coding else {})}
    return await broker.client.post(f"{broker.url}/default/default", content=body, headers=sent)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("coded", CODED)
async def test_what_is_accepted_arrives_readable(broker: Any, subscribe: Any, coded: str, mode: str) -> None:
    subscriber = await subscribe()
    await broker.trigger("all", subscriber.url)
    await broker.trigger("structured", subscriber.url, delivery={"format": "json"})
    (headers, body), (coding, encode) = MODES[mode], CODED[coded]
    assert (await post(broker, headers, coding, encode(body))).status_code == 202
    await broker.idle()
    assert len(subscriber.requests) == 2
    for request in subscriber.requests:
        assert "content-encoding" not in request.headers
        actual = json.loads(request.body)
        assert (actual["data"] if "cloudevents" in request.headers["content-type"] else actual) == DATA


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "gzip, br", "aws-chunked", "gzip;q=1", "gzip,gzip,gzip,gzip"]
)
async def test_other_codings_are_415(broker: Any, coding: str, mode: str) -> None:
    headers, body = MODES[mode]
    answer = await post(broker, headers, coding, body)
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    assert answer.json()["error"].startswith("content-encoding ")
    assert (await broker.get("events"))["items"] == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", bytes),
        ("deflate", bytes),
        ("gzip", zlib.compress),
        ("gzip", lambda body: gzip.compress(body)[:-1]),
        ("gzip", lambda body: gzip.compress(body) + b"more"),
        ("gzip", lambda body: gzip.compress(body)[:-8] + b"\0" * 8),  # another checksum
        ("deflate", lambda body: zlib.compress(body)[:-5]),
        ("deflate", lambda body: zlib.compress(body) + b"more"),
        ("gzip, gzip", gzip.compress),
        ("gzip", lambda body: gzip.compress(b"") * 2000 + gzip.compress(body)),
    ],
)
async def test_what_is_not_what_it_says_is_400(broker: Any, coding: str, encode: Any, mode: str) -> None:
    headers, body = MODES[mode]
    assert (await post(broker, headers, coding, encode(body))).status_code == 400
    assert (await broker.get("events"))["items"] == []


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
        ("gzip", lambda body: gzip.compress(body[:600]) + gzip.compress(body[600:])),
    ],
)
async def test_the_limit_is_of_the_decoded_event(start_broker: Any, coding: str, encode: Any) -> None:
    async with start_broker(max_body=1000) as broker:
        for size, status in ((1000, 202), (1001, 413), (10_000_000, 413)):
            answer = await post(broker, {**BINARY, "content-type": "text/plain"}, coding, encode(b"x" * size))
            assert answer.status_code == status
        (kept,) = (await broker.get("events"))["items"]
        assert kept["bytes"] == 1000


async def test_an_event_without_data_needs_no_coding(broker: Any) -> None:
    assert (
        await post(broker, {k: v for k, v in BINARY.items() if k != "content-type"}, "gzip", b"")
    ).status_code == 202


@pytest.mark.parametrize(
    ("file", "headers", "data"),
    [
        ("gz-event.bin", STRUCTURED, None),
        ("gz-fb.bin", BINARY, {"answer_id", "letter"}),
    ],
)
async def test_shared_cases(broker: Any, subscribe: Any, file: str, headers: dict[str, str], data: Any) -> None:
    if not CASES.is_dir():
        pytest.skip("the shared cases are not here")
    subscriber = await subscribe()
    await broker.trigger("all", subscriber.url)
    body = (CASES / file).read_bytes()
    assert (await post(broker, headers, "gzip", body)).status_code == 202
    await broker.idle()
    (request,) = subscriber.requests
    if headers is BINARY:
        assert request.body == gzip.decompress(body)
    else:
        assert json.loads(request.body) == json.loads(gzip.decompress(body))["data"]


# What subscribers answer.


@pytest.mark.parametrize("coded", CODED)
async def test_a_reply_is_read_through_its_coding(broker: Any, subscribe: Any, coded: str) -> None:
    coding, encode = CODED[coded]
    reply = {**BINARY, "ce-id": "reply", "ce-type": "reply", **({"content-encoding": coding} if coding else {})}
    asked = await subscribe(lambda request, n: (200, reply, encode(PLAIN)))
    heard = await subscribe()
    await broker.trigger("asked", asked.url, filter={"attributes": {"type": "t"}})
    await broker.trigger("heard", heard.url, filter={"attributes": {"type": "reply"}})
    assert (await post(broker, BINARY, "", PLAIN)).status_code == 202
    await broker.idle()
    (request,) = heard.requests
    assert (request.id, json.loads(request.body)) == ("reply", DATA)
    assert "content-encoding" not in request.headers


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("br", PLAIN, "content-encoding 'br' is not known"),
        ("gzip", PLAIN, "the body is not a gzip stream"),
        ("gzip", gzip.compress(b"x" * 5000), "the unpacked body exceeds the limit of 1000 bytes"),
    ],
)
async def test_an_unreadable_reply_is_a_failed_delivery(
    start_broker: Any, subscribe: Any, coding: str, body: bytes, reason: str
) -> None:
    async with start_broker(max_body=1000) as broker:
        reply = {**BINARY, "ce-id": "reply", "content-encoding": coding}
        asked = await subscribe(lambda request, n: (200, reply, body))
        await broker.trigger("asked", asked.url, delivery={"retry": 0})
        assert (await broker.send("1")).status_code == 202
        await broker.idle()
        (dead,) = (await broker.get("dead-letters"))["items"]
        assert (dead["status"], dead["error"][: len("an unreadable reply: ") + len(reason)]) == (
            502,
            f"an unreadable reply: {reason}",
        )


async def test_what_a_failed_subscriber_said_is_shown_decoded(broker: Any, subscribe: Any) -> None:
    headers = {"content-encoding": "gzip", "content-type": "text/plain"}
    asked = await subscribe(lambda request, n: (422, headers, gzip.compress(b"no such letter")))
    await broker.trigger("asked", asked.url, delivery={"retry": 0})
    assert (await broker.send("1")).status_code == 202
    await broker.idle()
    (dead,) = (await broker.get("dead-letters"))["items"]
    assert dead["response"] == "no such letter"


# What does not arrive whole.


@pytest.mark.parametrize("sent", [b"", b'{"a"'])
async def test_half_an_event_is_none(broker: Any, sent: bytes) -> None:
    """A binary event's attributes are whole before its data is."""
    port = int(broker.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in BINARY.items())
    writer.write(f"POST /default/default HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{head}\r\n".encode() + sent)
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    # Its answer goes nowhere; that it was handled shows in the figures.
    async def handled() -> bool:
        return 'response_code_class="4xx"} 1.0' in (await broker.client.get(f"{broker.url}/metrics")).text

    await until(handled)
    assert (await broker.get("events"))["items"] == []


async def test_an_object_without_end_is_not_read(broker: Any) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 2**16

    answer = await broker.client.put(f"{broker.url}/-/objects", content=chunks())
    assert answer.status_code == 413
