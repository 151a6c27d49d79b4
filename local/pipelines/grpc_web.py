"""gRPC-Web's frames for unary calls, in its binary and its base64 form, as a browser's grpc-web sends and reads them.

By hand: sonora and grpcWSGI serve it for a grpc.aio server, which this is not, and the format is one page
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md): a flag byte, four bytes of length, the message; the
trailers come in the body as a frame with the flag 0x80.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import quote

TEXT = "application/grpc-web-text"
BINARY = "application/grpc-web"
OK, INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED, UNAVAILABLE, INTERNAL = 0, 3, 5, 12, 14, 13
_TRAILERS = 0x80


class FrameError(ValueError):
    """The body is not one frame of gRPC-Web."""


def request_message(body: bytes, content_type: str) -> bytes:
    """The message of a unary call; FrameError."""
    if content_type.startswith(TEXT):
        try:
            body = base64.b64decode(body, validate=True)
        except binascii.Error:
            raise FrameError("the body is not base64") from None
    elif not content_type.startswith(BINARY):
        raise FrameError(f"the content type is {content_type[:60]!r}, not {BINARY} or {TEXT}")
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise FrameError("the body is not one uncompressed frame")
    return body[5:]


def response_body(message: bytes | None, status: int, text: str, content_type: str) -> bytes:
    """A response with its trailers; no `message` when the call failed."""
    trailers = f"grpc-status:{status}\r\n" + (f"grpc-message:{quote(text)}\r\n" if text else "")
    frames = [] if message is None else [_frame(0, message)]
    body = b"".join([*frames, _frame(_TRAILERS, trailers.encode())])
    return base64.b64encode(body) if content_type.startswith(TEXT) else body


def response_type(content_type: str) -> str:
    """The content type of the response to a request of this one."""
    return f"{TEXT}+proto" if content_type.startswith(TEXT) else f"{BINARY}+proto"


def _frame(flag: int, content: bytes) -> bytes:
    return bytes([flag]) + len(content).to_bytes(4, "big") + content
