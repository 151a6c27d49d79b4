"""gRPC-Web's frames, as bytes."""

from __future__ import annotations

import base64

import pytest

from local.pipelines import grpc_web

FRAME = b"\0\0\0\0\x02hi"


def test_a_request_in_both_forms() -> None:
    assert grpc_web.request_message(FRAME, "application/grpc-web+proto") == b"hi"
    assert grpc_web.request_message(base64.b64encode(FRAME), "application/grpc-web-text") == b"hi"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", grpc_web.BINARY), (FRAME[:-1], grpc_web.BINARY), (FRAME + b"x", grpc_web.BINARY),
        (b"\x01" + FRAME[1:], grpc_web.BINARY), (b"!", grpc_web.TEXT), (FRAME, "application/json"),
    ],
    ids=["nothing", "too short", "too long", "compressed", "no base64", "another type"],
)  # fmt: skip
def test_what_is_not_one_frame_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(grpc_web.FrameError):
        grpc_web.request_message(body, kind)


def test_a_response_ends_with_its_trailers() -> None:
    assert grpc_web.response_body(b"hi", 0, "", grpc_web.BINARY) == FRAME + b"\x80\0\0\0\x0fgrpc-status:0\r\n"
    refused = grpc_web.response_body(None, 5, "no “run”\n", grpc_web.BINARY)
    assert refused.endswith(b"grpc-status:5\r\ngrpc-message:no%20%E2%80%9Crun%E2%80%9D%0A\r\n")
    assert base64.b64decode(grpc_web.response_body(b"hi", 0, "", grpc_web.TEXT)).startswith(FRAME)
