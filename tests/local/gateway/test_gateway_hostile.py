"""Whatever one client sends, in whatever pieces, the next one gets the answer to its own request."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest
from gateway_cases import TEXT, Rig, read_message, request
from polling import until
from test_gateway_proxy import SMUGGLED

pytestmark = pytest.mark.usefixtures("processes")

BASES = [request(TEXT, "length"), request(TEXT, "chunked"), request(method=b"GET"), *SMUGGLED.values()]
PIECES = [
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"0\r\n\r\n", b"\xff", b"chunked", b"-1",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"GET /x HTTP/1.1\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n",
]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    raw = bytearray(chance.choice(BASES))
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(raw) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            raw[place:place] = chance.choice(PIECES)
        elif kind == 1:
            del raw[place : place + chance.randint(1, 40)]
        elif kind == 2 and place < len(raw):
            raw[place] = chance.randrange(256)
        else:
            raw[place:] = chance.choice(BASES)[place:]
    return bytes(raw)


@pytest.mark.parametrize("seed", range(8))
async def test_the_next_client_is_never_hurt(gateway: Rig, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(seed)
    gateway.upstream.answer = lambda message: (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(message.body), message.body)
    )
    with caplog.at_level(logging.WARNING):
        for turn in range(60):
            raw = mutated(chance)
            async with gateway.connect() as (_, writer):
                for start in range(0, len(raw), step := chance.choice([7, 100, 100_000])):
                    writer.write(raw[start : start + step])
                    await asyncio.sleep(0)
                if chance.random() < 0.5:
                    writer.write_eof()
                mine = b"mine %d" % turn
                async with gateway.connect() as (reader, own):
                    own.write(request(mine, "length"))
                    answer = await read_message(reader)
                    assert (answer.status, answer.body) == (200, mine), raw
    assert not caplog.records, caplog.text
    await until(lambda: not gateway.gateway._context.buffered_bytes)
    await until(lambda: not (gateway.gateway._context.revisions["d", "m-1"].in_flight()))
