"""A request as it is passed on: parsed with h11, and rejected wherever two parsers could read it differently.

h11 is already strict (white space before a colon, chunk sizes with signs, different lengths, NUL, missing Host). What
it accepts because RFC 9112 lets a server repair it is rejected here, since a proxy passes it on: Content-Length with
Transfer-Encoding, a repeated or listed Content-Length, folded lines, bare CR and LF.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import h11

from local.gateway.errors import GatewayError

Headers = list[tuple[bytes, bytes]]
"""Names keep their case."""

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"transfer-encoding", b"upgrade"}
)  # fmt: skip
# Trailers about how the message is read, where it goes or who sent it (RFC 9110, section 6.5.1): a server that merges
# trailers into the headers, as uvicorn does, would read a different message from the one that was checked here.
_FORBIDDEN_TRAILERS = HOP_BY_HOP | frozenset(
    {b"authorization", b"content-encoding", b"content-length", b"content-range", b"content-type", b"cookie", b"expect",
     b"forwarded", b"host", b"max-forwards", b"origin", b"range", b"trailer"}
)  # fmt: skip
_FORBIDDEN_TRAILER_PREFIXES = (b"ce-", b"if-", b"sec-", b"x-forwarded-")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_FOLDED = re.compile(rb"\n[ \t]")
_AUTHORITY = re.compile(rb"(?i)http://([^/?#@]+)((?:[/?#].*)?)")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
# A chunk of one byte costs as much as one of a thousand.
FREE_CHUNKS, BYTES_PER_CHUNK = 16_384, 16


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body. `target` is in origin form (or `*`), `host` the host that the request is meant for.

    `length` is the stated length of the body, None if it is unknown before its end.
    """

    method: bytes
    target: bytes
    host: bytes
    headers: Headers
    version: bytes
    framing: Literal["none", "length", "chunked"]
    length: int | None

    def get(self, name: bytes) -> str:
        """The first value of a header by its lower-case name, "" if there is none."""
        return next((value for key, value in self.headers if key.lower() == name), b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class RequestBody:
    content: bytes = b""
    trailers: Sequence[tuple[bytes, bytes]] = ()


def check_head_bytes(raw: bytes) -> None:
    """Rejects what h11 would repair. `raw` starts with the head; what follows its empty line is ignored."""
    end = raw.find(b"\r\n\r\n")
    lines = raw.lstrip(b"\r\n") if end < 0 else raw[:end].lstrip(b"\r\n")
    if _BARE.search(lines) or end < 0:
        raise GatewayError(400, "the lines of a request's head must end in CR LF")
    if _FOLDED.search(lines):
        raise GatewayError(400, "a header that continues on the next line is not accepted (RFC 9112, section 5.2)")


def parse_head(event: h11.Request, raw: bytes) -> RequestHead:
    """The head of a request that h11 has parsed from `raw`; GatewayError if it is ambiguous or not for a server."""
    check_head_bytes(raw)
    headers = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
    lengths = len(re.findall(rb"(?im)^content-length[ \t]*:", raw[: raw.find(b"\r\n\r\n")]))
    codings = [value for name, value in event.headers if name == b"transfer-encoding"]
    stated = next((value for name, value in event.headers if name == b"content-length"), None)
    if event.http_version not in (b"1.0", b"1.1"):
        raise GatewayError(505, f"HTTP/{event.http_version.decode()} is not supported; use HTTP/1.1")
    if lengths > 1:
        raise GatewayError(400, "Content-Length appears more than once")
    if codings and lengths:
        raise GatewayError(400, "both Content-Length and Transfer-Encoding are present")
    if codings and event.http_version < b"1.1":
        raise GatewayError(400, "HTTP/1.0 has no Transfer-Encoding")
    if event.method == b"CONNECT":
        raise GatewayError(501, "this gateway does not open tunnels")
    target, host = event.target, next((value for name, value in event.headers if name == b"host"), b"")
    if not target.startswith(b"/") and target != b"*":
        match = _AUTHORITY.fullmatch(target)
        if not match:
            raise GatewayError(400, "the target must be a path or an absolute http:// URL")
        # Its host overrides the Host header (RFC 9112, section 3.2.2).
        host, rest = match[1], match[2].partition(b"#")[0]
        target = rest if rest.startswith(b"/") else b"/" + rest
        headers = [(name, host if name.lower() == b"host" else value) for name, value in headers]
    if not _HOST.fullmatch(host):
        raise GatewayError(400, "the Host header is not a host")
    framing: Literal["none", "length", "chunked"] = "chunked" if codings else "none" if stated is None else "length"
    length = None if codings else int(stated or b"0")
    return RequestHead(event.method, target, host, headers, event.http_version, framing, length)


def check_trailers(trailers: Iterable[tuple[bytes, bytes]]) -> None:
    """GatewayError for a field that must not be a trailer."""
    for name, _ in trailers:
        lower = name.lower()
        if lower in _FORBIDDEN_TRAILERS or lower.startswith(_FORBIDDEN_TRAILER_PREFIXES):
            raise GatewayError(400, f"{name.decode('latin-1')[:80]} must come before the body, not after it")


def is_mostly_framing(chunks: int, size: int) -> bool:
    """Whether a chunked body is mostly framing, to cause work."""
    return chunks > FREE_CHUNKS + size // BYTES_PER_CHUNK


def end_to_end_headers(headers: Iterable[tuple[bytes, bytes]], *excluded: bytes) -> Headers:
    """All headers except the hop-by-hop ones, those that Connection names (RFC 9110, section 7.6.1), and `excluded`."""
    items = list(headers)
    removed = set(HOP_BY_HOP.union(excluded))
    for name, value in items:
        if name.lower() == b"connection":
            removed |= {option.strip().lower() for option in value.split(b",")}
    # The Connection header must not remove the length or the host.
    removed -= {b"content-length", b"host"} - set(excluded)
    return [(name, value) for name, value in items if name.lower() not in removed]


def upstream_request(head: RequestHead, body: RequestBody, forwarded: Headers) -> list[h11.Event]:
    """The request to a replica: same target, headers and framing, with `forwarded` replacing the client's values."""
    own = tuple(name.lower() for name, _ in forwarded)
    headers = end_to_end_headers(head.headers, b"expect", *own)
    if not any(name.lower() == b"host" for name, _ in headers):
        headers.insert(0, (b"Host", head.host))
    headers += forwarded
    if head.framing == "chunked":
        headers.append((b"Transfer-Encoding", b"chunked"))
    events: list[h11.Event] = [h11.Request(method=head.method, target=head.target, headers=headers)]
    if body.content:
        events.append(h11.Data(data=body.content))
    return [*events, h11.EndOfMessage(headers=list(body.trailers))]
