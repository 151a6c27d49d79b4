"""Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events, 9.2.6) from a response's bytes.

By hand, as it is a dozen lines: httpx's own lines end at every line end of Unicode, which JSON leaves as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_BUFFERED = 4 * 1024 * 1024
"""Bytes of a line or an event that has not ended: no model server sends as many."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event; a comment, which servers send to keep the connection alive, has neither name nor data."""

    name: str = ""
    data: str = ""


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Events and comments as they arrive; ValueError for bytes that are not UTF-8, or too many of them. The last event
    counts only if it ended."""
    name, data, size = "", list[str](), 0
    for line in _lines(chunks):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield ServerSentEvent(name or "message", "\n".join(data))
            name, data, size = "", [], 0
        elif not field:
            yield ServerSentEvent()
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
            size += len(value) + 1  # its line end: empty lines count too
            if size > MAX_BUFFERED:
                raise ValueError("an event of the stream is too long")


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Every byte is looked at once, however small the pieces are in which a line arrives."""
    rest, after_cr = bytearray(), False
    for chunk in chunks:
        if after_cr and chunk:
            chunk, after_cr = chunk.removeprefix(b"\n"), False  # the rest of a line end
        for line in chunk.splitlines(keepends=True):  # of bytes: at LF, CR LF and CR only
            rest += line
            if len(rest) > MAX_BUFFERED:
                raise ValueError("a line of the stream is too long")
            if line.endswith((b"\n", b"\r")):
                yield rest.rstrip(b"\r\n").decode()
                rest, after_cr = bytearray(), line.endswith(b"\r")
