"""Content-Encoding (RFC 9110, section 8.4) of what the broker receives: taken off within bounds, so that every event is
kept and delivered as its sender meant it, readable for every subscriber. The decoder is the model server's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from common import content_codings
from common.content_codings import CodingError, UnknownCodingError

CODINGS = content_codings.ACCEPTED

__all__ = ["CODINGS", "CodingError", "TooLarge", "UnknownCodingError", "decoded"]


class TooLarge(CodingError):
    """The body is larger, as it came or decoded, than it may be."""


def decoded(headers: Iterable[tuple[bytes, bytes]], body: bytes, limit: int) -> bytes:
    """The body without its codings, at most `limit` bytes of it at any stage; CodingError. Nothing stays nothing."""
    named = b",".join(value for name, value in headers if name == b"content-encoding")
    applied = content_codings.read_codings(named.decode("latin-1"))
    if not body or not applied:
        return body
    try:
        return content_codings.decode(body, applied, limit)
    except content_codings.DecodedTooLargeError as error:
        raise TooLarge(str(error)) from None
