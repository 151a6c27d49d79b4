"""Content codings of a request's body (RFC 9110, section 8.4): gzip and deflate undone, within bounds.

Standard library alone: functions read logged bodies with it too.
"""

from __future__ import annotations

import zlib

ACCEPTED = ("gzip", "deflate")
MOST_CODINGS = 2
"""Of one body. A stream that unpacks to itself would otherwise cost as often as its header says."""
MOST_MEMBERS = 1024
"""Of one gzip stream (RFC 1952, 2.2): each starts from scratch, and one of 20 bytes may hold nothing."""

_STEP = 64 * 1024
_WHITE_SPACE = b" \t\r\n"
_OBJECT_BEGINS = b"{\xef" + _WHITE_SPACE
"""The first byte of a JSON object's text: behind a byte order mark, too."""
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class CodingError(ValueError):
    """The body is not what its content coding says; the message says why."""


class UnknownCodingError(CodingError):
    """A coding that is not undone here, or too many of them."""


class DecodedTooLargeError(CodingError):
    """The body unpacks to more than was allowed."""


def read_codings(header: str) -> tuple[str, ...]:
    """The codings that a Content-Encoding header names, in the order they were applied in; identity is none.

    Raises UnknownCodingError for one that `decode` does not know and for more than `MOST_CODINGS`.
    """
    names = [name.strip().lower() for name in header.split(",")]
    codings = tuple(name.removeprefix("x-") if name == "x-gzip" else name for name in names if name != "identity")
    codings = tuple(name for name in codings if name)
    for name in codings:
        if name not in ACCEPTED:
            raise UnknownCodingError(
                f"content-encoding {name[:80]!r} is not known; send {' or '.join(ACCEPTED)}, or none"
            )
    if len(codings) > MOST_CODINGS:
        raise UnknownCodingError(f"content-encoding names {len(codings)} codings; send {MOST_CODINGS} at most")
    return codings


def decode(body: bytes, codings: tuple[str, ...], most: int) -> bytes:
    """The body without these codings, the last applied undone first. Never more than `most` bytes are unpacked.

    Raises DecodedTooLargeError beyond that, CodingError when it is not such a stream, ends early or has trailing bytes.
    """
    for coding in reversed(codings):
        body = _inflated(body, coding, most)
    return body


def sniff(body: bytes) -> tuple[str, ...]:
    """The coding that the body's first bytes show, where no header says it; no JSON text begins so.

    A deflate stream without zlib's header has no mark of its own: it is known by what it holds, a JSON object.
    """
    if body.startswith(b"\x1f\x8b"):
        return ("gzip",)
    return ("deflate",) if _has_zlib_header(body) or _is_bare_stream(body) else ()


def _inflated(body: bytes, coding: str, most: int) -> bytes:
    # "deflate" means a zlib stream (RFC 9110, 8.4.1.2); some clients send it without zlib's header.
    window = _GZIP if coding == "gzip" else _ZLIB if _has_zlib_header(body) else _RAW
    view, place, members = memoryview(body), 0, 0
    chunks: list[bytes] = []
    room = most + 1
    while not members or place < len(body):
        members += 1
        if members > 1 and (coding != "gzip" or body[place : place + 2] != b"\x1f\x8b"):
            raise CodingError(f"the body has {len(body) - place} bytes behind its {coding} stream")
        if members > MOST_MEMBERS:
            raise CodingError(f"the body's gzip stream has more than {MOST_MEMBERS} members")
        stream = zlib.decompressobj(window)
        while not stream.eof:
            if not (piece := view[place : place + _STEP]):
                raise CodingError(f"the body ends within its {coding} stream")
            try:
                chunk = stream.decompress(piece, room)
            except zlib.error as error:
                raise CodingError(f"the body is not a {coding} stream: {str(error).rpartition(': ')[2]}") from None
            chunks.append(chunk)
            room -= len(chunk)
            if room <= 0:
                raise DecodedTooLargeError(f"the unpacked body exceeds the limit of {most} bytes")
            place += len(piece) - len(stream.unused_data)
    return b"".join(chunks)


def _is_bare_stream(body: bytes) -> bool:
    # `{` alone may begin a stream (of a byte order mark), `{` and what JSON has behind it none that holds an object.
    if body[:1] in (b" ", b"\t", b"\r", b"\n") and body.lstrip(_WHITE_SPACE)[:1] == b"{":
        return False
    try:
        first = zlib.decompressobj(_RAW).decompress(body[:_STEP], 1)
    except zlib.error:
        return False
    return bool(first) and first in _OBJECT_BEGINS


def _has_zlib_header(body: bytes) -> bool:
    """RFC 1950, 2.2: method 8, a window of 32 KiB at most, and a sum that 31 divides."""
    return len(body) > 1 and body[0] & 0x0F == 8 and body[0] >> 4 <= 7 and (body[0] << 8 | body[1]) % 31 == 0
