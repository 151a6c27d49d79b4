"""A request as it is passed on: read with h11, and refused wherever two readers could read it differently.

h11 is strict already (white space before a colon, chunk sizes with signs, lengths that differ, NUL, missing Host).
What it accepts because RFC 9112 allows a server to mend it is refused here, since a proxy passes it on to others: both
Content-Length and Transfer-Encoding, a repeated or listed Content-Length, folded lines, bare CR and LF.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import h11

from local.gateway.errors import Refusal

Headers = list[tuple[bytes, bytes]]
"""Names as they were written."""

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"transfer-encoding", b"upgrade"}
)  # fmt: skip
# A trailer that says how the message is read, where it goes or who sent it (RFC 9110, section 6.5.1): servers that add
# trailers to the headers, as uvicorn does, would read another message than the one that was looked at here.
_NEVER_TRAILERS = HOP_BY_HOP | frozenset(
    {b"authorization", b"content-encoding", b"content-length", b"content-range", b"content-type", b"cookie", b"expect",
     b"forwarded", b"host", b"max-forwards", b"origin", b"range", b"trailer"}
)  # fmt: skip
_NEVER_TRAILERS_BEGIN = (b"ce-", b"if-", b"sec-", b"x-forwarded-")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_FOLDED = re.compile(rb"\n[ \t]")
_AUTHORITY = re.compile(rb"(?i)http://([^/?#@]+)((?:[/?#].*)?)")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
# A chunk of one byte costs as much as one of a thousand.
FREE_CHUNKS, BYTES_A_CHUNK = 16_384, 16


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. `target` is in origin form (or `*`), `host` what the request is meant for.

    `length` is the stated length of the body, None where it is not known before its end.
    """

    method: bytes
    target: bytes
    host: bytes
    headers: Headers
    version: bytes
    framing: Literal["none", "length", "chunked"]
    length: int | None

    def get(self, name: bytes) -> str:
        """The first value of a header by its lower-case name, "" where there is none."""
        return next((value for key, value in self.headers if key.lower() == name), b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Body:
    content: bytes = b""
    trailers: Sequence[tuple[bytes, bytes]] = ()


def check_raw(raw: bytes) -> None:
    """Refuses what h11 would mend. `raw` begins with the head; what follows its empty line is not looked at."""
    end = raw.find(b"\r\n\r\n")
    lines = raw.lstrip(b"\r\n") if end < 0 else raw[:end].lstrip(b"\r\n")
    if _BARE.search(lines) or end < 0:
        raise Refusal(400, "lines of a request's head end in CR LF")
    if _FOLDED.search(lines):
        raise Refusal(400, "a header that goes on in the next line is refused (RFC 9112, section 5.2)")


def head_of(event: h11.Request, raw: bytes) -> Head:
    """The head of a request that h11 has read from `raw`; Refusal where it is ambiguous or not for a server."""
    check_raw(raw)
    headers = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
    lengths = len(re.findall(rb"(?im)^content-length[ \t]*:", raw[: raw.find(b"\r\n\r\n")]))
    codings = [value for name, value in event.headers if name == b"transfer-encoding"]
    stated = next((value for name, value in event.headers if name == b"content-length"), None)
    if event.http_version not in (b"1.0", b"1.1"):
        raise Refusal(505, f"HTTP/{event.http_version.decode()} is not spoken here; HTTP/1.1 is")
    if lengths > 1:
        raise Refusal(400, "Content-Length is there more than once")
    if codings and lengths:
        raise Refusal(400, "both Content-Length and Transfer-Encoding are there")
    if codings and event.http_version < b"1.1":
        raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
    if event.method == b"CONNECT":
        raise Refusal(501, "this gateway opens no tunnels")
    target, host = event.target, next((value for name, value in event.headers if name == b"host"), b"")
    if not target.startswith(b"/") and target != b"*":
        found = _AUTHORITY.fullmatch(target)
        if not found:
            raise Refusal(400, "the target must be a path, or a whole URL with http://")
        # What it names counts, whatever Host says (RFC 9112, section 3.2.2).
        host, rest = found[1], found[2].partition(b"#")[0]
        target = rest if rest.startswith(b"/") else b"/" + rest
        headers = [(name, host if name.lower() == b"host" else value) for name, value in headers]
    if not _HOST.fullmatch(host):
        raise Refusal(400, "Host is not a host")
    framing: Literal["none", "length", "chunked"] = "chunked" if codings else "none" if stated is None else "length"
    length = None if codings else int(stated or b"0")
    return Head(event.method, target, host, headers, event.http_version, framing, length)


def check_trailers(trailers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refusal for what must not come behind a body."""
    for name, _ in trailers:
        lower = name.lower()
        if lower in _NEVER_TRAILERS or lower.startswith(_NEVER_TRAILERS_BEGIN):
            raise Refusal(400, f"{name.decode('latin-1')[:80]} must come before the body, not behind it")


def too_fine(chunks: int, size: int) -> bool:
    """Whether a chunked body is mostly framing: sent to make us work."""
    return chunks > FREE_CHUNKS + size // BYTES_A_CHUNK


def passed_on(headers: Iterable[tuple[bytes, bytes]], *also: bytes) -> Headers:
    """All headers but the hop-by-hop ones, those that Connection names (RFC 9110, section 7.6.1), and `also`."""
    items = list(headers)
    dropped = set(HOP_BY_HOP.union(also))
    for name, value in items:
        if name.lower() == b"connection":
            dropped |= {option.strip().lower() for option in value.split(b",")}
    # Neither the length nor the host is the Connection header's to take away.
    dropped -= {b"content-length", b"host"} - set(also)
    return [(name, value) for name, value in items if name.lower() not in dropped]


def upstream_request(head: Head, body: Body, forwarded: Headers) -> list[h11.Event]:
    """What a replica is sent: the same target, headers and framing, with `forwarded` in place of what a client said."""
    own = tuple(name.lower() for name, _ in forwarded)
    headers = passed_on(head.headers, b"expect", *own)
    if not any(name.lower() == b"host" for name, _ in headers):
        headers.insert(0, (b"Host", head.host))
    headers += forwarded
    if head.framing == "chunked":
        headers.append((b"Transfer-Encoding", b"chunked"))
    events: list[h11.Event] = [h11.Request(method=head.method, target=head.target, headers=headers)]
    if body.content:
        events.append(h11.Data(data=body.content))
    return [*events, h11.EndOfMessage(headers=list(body.trailers))]
