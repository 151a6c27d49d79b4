"""Content-Encoding (RFC 9110, section 8.4) of what the broker receives: taken off within bounds, so that every event is
kept and delivered as its sender meant it, readable for every subscriber.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

CODINGS = ("gzip", "deflate")
_MOST = 3  # codings on top of each other: nobody means more than one
_MOST_MEMBERS = 100  # of a gzip file: empty ones cost time and no size


class CodingError(Exception):
    """The body cannot be decoded; one line for people."""


class UnknownCoding(CodingError):
    """A coding that is not read here."""


class TooLarge(CodingError):
    """The body is larger, decoded, than it may be."""


def codings_of(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The codings in the order in which they were applied; identity is none. UnknownCoding names the first unknown."""
    found: list[str] = []
    for name, value in headers:
        if name == b"content-encoding":
            found += [part.strip().lower() for part in value.decode("latin-1").split(",")]
    found = [coding.removeprefix("x-") for coding in found if coding not in ("", "identity")]
    for coding in found:
        if coding not in CODINGS:
            raise UnknownCoding(f"content-encoding {coding[:40]!a} is not read here; send {', '.join(CODINGS)} or none")
    if len(found) > _MOST:
        raise UnknownCoding(f"content-encoding names {len(found)} codings; send one or none")
    return found


def decoded(headers: Iterable[tuple[bytes, bytes]], body: bytes, limit: int) -> bytes:
    """The body without its codings, at most `limit` bytes of it at any stage; CodingError. Nothing stays nothing."""
    for coding in reversed(codings_of(headers)):
        if body:
            body = (_gunzip if coding == "gzip" else _inflate)(body, limit)
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    """Every member of a gzip file, one after the other (RFC 1952, section 2.2)."""
    parts, size, members = [], 0, 0
    while body:
        members += 1
        if members > _MOST_MEMBERS:
            raise CodingError(f"the body is no gzip: it has more than {_MOST_MEMBERS} members")
        part, body = _stream(lambda: zlib.decompressobj(31), body, limit - size, "gzip")
        size += len(part)
        parts.append(part)
    return b"".join(parts)


def _inflate(body: bytes, limit: int) -> bytes:
    """zlib's format, as the standard says, or the bare stream, as many send it."""
    bare = body[0] & 0x0F != 8 or (body[0] << 8 | body[1] if len(body) > 1 else 1) % 31 != 0
    part, rest = _stream(lambda: zlib.decompressobj(-15 if bare else 15), body, limit, "deflate")
    if rest:
        raise CodingError("the body goes on after the end of its deflate stream")
    return part


def _stream(make: Callable[[], zlib._Decompress], body: bytes, limit: int, coding: str) -> tuple[bytes, bytes]:
    """One compressed stream, and what follows it."""
    stream = make()
    try:
        # A byte more than allowed shows that there is more; 0 would mean no limit.
        found = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise CodingError(f"the body is no {coding}: {str(error)[:80]}") from None
    if len(found) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes when it is decoded")
    if not stream.eof:
        raise CodingError(f"the body ends in the middle of its {coding} stream")
    return found, stream.unused_data
