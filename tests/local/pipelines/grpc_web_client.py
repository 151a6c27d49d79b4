"""A client of ML Metadata over gRPC-Web, as grpc-web in the browser speaks it."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
from kfp_server import HEADERS

from local.pipelines.metadata_messages import SERVICE, message


class GrpcWebError(Exception):
    """A call that was refused: its gRPC status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


def call(url: str, method: str, *, text: bool = True, **fields: Any) -> Any:
    """The response's message; GrpcWebError."""
    content = message(f"{method}Request")(**fields).SerializeToString()
    response = send(url, method, b"\0" + len(content).to_bytes(4, "big") + content, text=text)
    return message(f"{method}Response").FromString(response)


def send(url: str, method: str, body: bytes, *, text: bool = True) -> bytes:
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    response = httpx2.post(
        f"{url}/{SERVICE}/{method}", content=base64.b64encode(body) if text else body,
        headers={**HEADERS, "Content-Type": kind, "X-Grpc-Web": "1"}, timeout=30,
    )  # fmt: skip
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(kind.removesuffix("+proto"))
    content, trailers = b"", ""
    rest = base64.b64decode(response.content) if text else response.content
    while rest:
        flag, size = rest[0], int.from_bytes(rest[1:5], "big")
        frame, rest = rest[5 : 5 + size], rest[5 + size :]
        if flag & 0x80:
            trailers = frame.decode()
        else:
            content += frame
    values = dict(line.split(":", 1) for line in trailers.strip().split("\r\n"))
    if values["grpc-status"] != "0":
        raise GrpcWebError(int(values["grpc-status"]), values.get("grpc-message", ""))
    return content
