"""Content-Encoding (RFC 9110, section 8.4) of what the broker receives: decoded within bounds, so that every subscriber
can read every event. The decoder is the one that the model server uses.
"""

from __future__ import annotations

from collections.abc import Iterable

from common import content_codings
from common.content_codings import CodingError, UnknownCodingError

CODINGS = content_codings.ACCEPTED

__all__ = ["CODINGS", "BodyTooLargeError", "CodingError", "UnknownCodingError", "decoded"]


class BodyTooLargeError(CodingError):
    """The body is larger than allowed, as received or decoded."""


def decoded(headers: Iterable[tuple[bytes, bytes]], body: bytes, limit: int) -> bytes:
    """The decoded body, which may have at most `limit` bytes at any stage; CodingError. An empty body stays empty."""
    named = b",".join(value for name, value in headers if name == b"content-encoding")
    applied = content_codings.read_codings(named.decode("latin-1"))
    if not body or not applied:
        return body
    try:
        return content_codings.decode(body, applied, limit)
    except content_codings.DecodedTooLargeError as error:
        raise BodyTooLargeError(str(error)) from None
