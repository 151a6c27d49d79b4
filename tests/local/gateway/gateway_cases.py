"""What the gateway's tests share: a raw upstream that keeps every byte, a raw client, a controller's connection.

Messages are read here by a few lines of our own, so that the gateway's parser is not its own judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from local.gateway.control_protocol import GatewayState, LoadReport, RevisionState, Route, decode_report, encode_state
from local.gateway.payload_logger import LoggerSpec
from local.gateway.server import Gateway
from local.gateway.settings import Settings
from local.ports import free_ports
from local.serving.traffic import TrafficTarget

TEXT = b'{"instances": [{"question": "What does print(7 // 2) show?", "choices": ["3", "3.5"]}]}' * 3
CODINGS = {
    "identity": (b"", TEXT),
    "gzip": (b"gzip", gzip.compress(TEXT, mtime=0)),
    "deflate": (b"deflate", zlib.compress(TEXT)),
    "unknown": (b"x-snappy", b"\x00\xff\x1f\x8b not what it says \r\n\r\n0\r\n\r\n"),
}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Message:
    """A request or response as it was on the wire."""

    start: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    framing: str = "none"

    def get(self, name: str) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name.lower().encode()), None)

    @property
    def status(self) -> int:
        return int(self.start.split()[1])


async def read_message(reader: asyncio.StreamReader, *, bodiless: bool = False, to_end: bool = False) -> Message:
    """The next message; `to_end`: without a length it goes on to the end of the connection."""
    start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    message = Message(start, [_pair(line) for line in lines])
    if (message.get("transfer-encoding") or b"").lower() == b"chunked":
        message.framing = "chunked"
        while not bodiless and (size := int(await _line(reader), 16)):
            message.body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        while not bodiless and (line := await _line(reader)):
            message.trailers.append(_pair(line))
    elif (length := message.get("content-length")) is not None:
        message.framing = "length"
        message.body = b"" if bodiless else await reader.readexactly(int(length))
    elif to_end and not bodiless:
        message.framing = "end"
        message.body = await reader.read()
    return message


async def _line(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readuntil(b"\r\n"))[:-2]


def _pair(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip()


@dataclass
class Upstream:
    """A replica: keeps what it is sent; `answer` makes the bytes of the answer, None closes the connection."""

    answer: Callable[[Message], bytes | None] = lambda message: OK
    closes: bool = False
    seen: list[Message] = field(default_factory=list)
    port: int = 0
    hold: asyncio.Event | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                message = await read_message(reader)
                self.seen.append(message)
                if self.hold:
                    await self.hold.wait()
                answer = self.answer(message)
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
                if answer is None or self.closes:
                    break
        writer.close()


@dataclass
class Rig:
    """A gateway with one service `m` of one replica, the default, and a cluster-local one, `f`."""

    port: int
    internal: int
    upstream: Upstream
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gateway: Gateway
    state: GatewayState
    version: int = 0

    async def push(self, **changes: Any) -> LoadReport:
        """Changes the state, and waits until it is in force."""
        self.state, self.version = replace(self.state, **changes), self.version + 1
        self.writer.write(encode_state(self.state, self.version))
        return await self.report(lambda report: report.version == self.version)

    async def report(self, wanted: Callable[[LoadReport], bool]) -> LoadReport:
        while not wanted(report := decode_report(await self.reader.readline())):
            pass
        return report

    @contextlib.asynccontextmanager
    async def connect(self, port: int = 0) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def exchange(self, raw: bytes, port: int = 0, **options: Any) -> Message:
        """One request on a connection of its own."""
        async with self.connect(port) as (reader, writer):
            writer.write(raw)
            return await read_message(reader, to_end=True, **options)


@contextlib.asynccontextmanager
async def rig(folder: Path, logger: LoggerSpec | None = None, **settings: Any) -> AsyncIterator[Rig]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    port, internal = free_ports(2)
    made = Settings(**{"socket": folder / "control.sock", "port": port, "internal_port": internal, **settings})
    async with Gateway(made) as gateway:
        reader, writer = await asyncio.open_unix_connection(str(made.socket))
        revision = RevisionState(timeout=60.0, replicas={"r-1": upstream.port})
        routes = {
            ("d", "m-predictor"): Route((TrafficTarget("m-1", 100, "", True),), {"m-1": logger} if logger else {}),
            ("d", "f"): Route((TrafficTarget("f-1", 100, "", True),), local=True),
        }
        state = GatewayState(
            "localhost:80", ("d", "m"), routes=routes, revisions={("d", "m-1"): revision, ("d", "f-1"): revision}
        )
        made_rig = Rig(port, internal, upstream, reader, writer, gateway, state)
        await made_rig.push()
        try:
            yield made_rig
        finally:
            writer.close()
    server.close()


def request(
    body: bytes = b"", framing: str = "none", *headers: bytes, method: bytes = b"POST", target: bytes = b"/v1",
    version: bytes = b"1.1", host: bytes = b"127.0.0.1",
) -> bytes:  # fmt: skip
    """A request's bytes; chunks are of odd sizes."""
    lines = [method + b" " + target + b" HTTP/" + version, b"Host: " + host, *headers]
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        pieces = [body[i : i + 37] for i in range(0, len(body), 37)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
