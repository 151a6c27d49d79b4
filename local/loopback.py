"""In front of every server of the embedded platform: who may ask it, though it listens on 127.0.0.1 only.

Loopback keeps other machines out, but neither web pages nor this machine's other users. A page in a browser here can
send requests to any local port, and, by letting its own name resolve to 127.0.0.1 (DNS rebinding), read the answers;
another user can connect as we can. So a request passes when

1. its Host is this machine or one of the names in MCQA_ALLOWED_HOSTS: a page's rebound name is neither;
2. no page of another site sent it, by Sec-Fetch-Site, which pages cannot forge, or, where that is missing, by Origin;
3. it brings the server's token, unless what it asks for is open: `Authorization: Bearer …`, or, from a browser, the
   cookie that a link with `?token=…` left there once.

A refusal is 403 (the first two) or 401, in the form of the server's other errors. The decisions are pure functions.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

ALLOWED_HOSTS = "MCQA_ALLOWED_HOSTS"

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\s:/?#@\\\[\]]+)(?::(?P<port>\d{1,5}))?")
_LOOKED_AT = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"x-forwarded-host",
     b"authorization", b"cookie", b"content-length", b"accept"}
)  # fmt: skip
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_READS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Refusal:
    """`status` 401, 403, 413 or 400, and one line for people."""

    status: int
    reason: str


class HostsError(ValueError):
    """MCQA_ALLOWED_HOSTS holds what is no host name; one line for people."""


Body = Callable[[Refusal], Any]
"""A refusal as the JSON of a server's other errors."""


def allowed_hosts(environ: Mapping[str, str]) -> frozenset[str]:
    """The names in MCQA_ALLOWED_HOSTS, separated by commas and without ports; HostsError."""
    found = set()
    for entry in environ.get(ALLOWED_HOSTS, "").split(","):
        name = entry.strip().lower().rstrip(".")
        if not name:
            continue
        if not (_NAME.fullmatch(name) or _address(name.strip("[]"))):
            raise HostsError(
                f"{ALLOWED_HOSTS}: {entry.strip()[:80]!r} is no host name; give names without ports, a comma between"
            )
        found.add(name.strip("[]"))
    return frozenset(found)


def host_allowed(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this machine (a loopback address, localhost and what is under it) or one of `names`.

    The port is not looked at: a published or forwarded port is another than the one listened on. No page's name ends
    in `.localhost` (RFC 6761, section 6.3). 0.0.0.0 leads here too, but only pages write it.
    """
    match = _AUTHORITY.fullmatch(host)
    if match is None:
        return False
    name = match["name"].lower().rstrip(".")
    address = _address(name.strip("[]"))
    if address is not None:
        return address.is_loopback or str(address) in names or name.strip("[]") in names
    return name == "localhost" or name.endswith(".localhost") or name in names


def cross_site(method: str, headers: Mapping[bytes, bytes], *, pages: bool) -> bool:
    """Whether a page of another site, or of another port, sent this request.

    Sec-Fetch-Site is right behind a proxy that rewrites Host as well. Without it (an older browser, or http to another
    name than localhost's) an Origin must be our own: Host, or what a proxy says Host was. Of links on other sites,
    those that open a page are followed, where there are `pages`.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        if site in (b"same-origin", b"none"):
            return False
        opens = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
        return not (pages and method in _READS and opens)
    origin = headers.get(b"origin")
    return origin is not None and not _same_origin(headers, origin)


def from_our_page(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that a page of ours, or the user, sent it: saying nothing is not enough."""
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return site in (b"same-origin", b"none")
    return (origin := headers.get(b"origin")) is not None and _same_origin(headers, origin)


def _same_origin(headers: Mapping[bytes, bytes], origin: bytes) -> bool:
    scheme, separator, place = origin.decode("latin-1").lower().partition("://")
    if not separator or scheme not in _DEFAULT_PORTS:
        return False  # null: a sandboxed frame or a file
    port = _DEFAULT_PORTS[scheme]
    forwarded = headers.get(b"x-forwarded-host", b"").decode("latin-1").partition(",")[0].strip()
    ours = (headers.get(b"host", b"").decode("latin-1"), forwarded)
    return _authority(place, port) is not None and _authority(place, port) in [_authority(one, port) for one in ours]


def _authority(text: str, port: str) -> tuple[str, str] | None:
    match = _AUTHORITY.fullmatch(text.lower())
    return (match["name"], match["port"] or port) if match else None


@lru_cache(maxsize=256)
def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def cookie_name(port: int) -> str:
    """A browser keeps one set of cookies for all ports of a host: each server's has its port in the name."""
    return f"mcqa-{port}"


def cookie_value(token: str) -> str:
    """Not the token itself: every local server that the browser visits gets to see the cookie."""
    return hmac.new(token.encode(), b"coding-mcqa browser cookie", hashlib.sha256).hexdigest()


def link(url: str, token: str, path: str = "/") -> str:
    """The link that lets a browser in."""
    return f"{url.rstrip('/')}{path}?{urlencode({'token': token})}"


class Guard:
    """The ASGI middleware. `token` "" where the application asks for its own; `is_open(method, path)` says what needs
    none. `max_body`: a larger Content-Length is 413 before anything of the body is read. `pages`: people look at it
    with a browser, so links and cookies work. `how` tells a person without the token what to do.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = (),
        token: str = "",
        is_open: Callable[[str, str], bool] = lambda method, path: False,
        max_body: int,
        body: Body = lambda refusal: {"error": refusal.reason},
        pages: bool = False,
        how: str = "",
    ) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._token = token.encode()
        self._cookie = cookie_value(token).encode()
        self._is_open = is_open
        self._max_body = max_body
        self._body = body
        self._pages = pages
        self._how = how
        self._good_hosts: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers: dict[bytes, bytes] = {}
        hosts = 0
        for name, value in scope["headers"]:
            if name in _LOOKED_AT:
                headers[name] = value
                hosts += name == b"host"
        refusal = self._strange(scope, headers, hosts)
        if refusal is None and self._pages and (entry := self._entry(scope, headers)) is not None:
            await _answer(send, *entry)
            return
        refusal = refusal or self._unknown(scope, headers)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await self._refuse(scope, headers, refusal, send)

    def _strange(self, scope: Scope, headers: Mapping[bytes, bytes], hosts: int) -> Refusal | None:
        if hosts != 1:
            return Refusal(400, f"a request has one Host header, this one has {hosts}")
        host = headers[b"host"]
        if host not in self._good_hosts:
            shown = host.decode("latin-1")
            if not host_allowed(shown, self._hosts):
                return Refusal(
                    403, f"host {shown[:80]!a} is not this machine's; other names of it go into {ALLOWED_HOSTS}"
                )
            if len(self._good_hosts) < 64:
                self._good_hosts.add(host)
        if (b"origin" in headers or b"sec-fetch-site" in headers) and cross_site(
            scope["method"], headers, pages=self._pages
        ):
            return Refusal(403, "requests from pages of another site or port are refused")
        if (length := headers.get(b"content-length")) and length.isdigit() and int(length[:18]) > self._max_body:
            return Refusal(413, f"the body is larger than {self._max_body} bytes")
        return None

    def _unknown(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Refusal | None:
        if not self._token or self._is_open(scope["method"], scope["path"]) or self._known(scope, headers):
            return None
        return Refusal(401, f"this needs the server's token{self._how and ': ' + self._how}")

    def _known(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return True
        if not self._pages or b"cookie" not in headers:
            return False
        # The cookie comes with whatever a browser sends here; that one of our pages sent it must be seen for itself.
        if scope["method"] not in _READS and not from_our_page(headers):
            return False
        name = cookie_name(scope["server"][1]).encode()
        pairs = (pair.strip().partition(b"=") for pair in headers[b"cookie"].split(b";"))
        return any(key == name and hmac.compare_digest(value, self._cookie) for key, _, value in pairs)

    def _entry(
        self, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
        """The answer to a link with the right token: a cookie, and the same page without the token in its address."""
        if scope["method"] != "GET" or b"token=" not in scope["query_string"]:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if not any(hmac.compare_digest(value.encode("latin-1", "replace"), self._token) for value in given):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # One slash, for //name would be another machine's.
        target = "/" + quote(scope["path"].lstrip("/\\"), safe="/:@!$&'()*+,;=~") + (f"?{rest}" if rest else "")
        cookie = f"{cookie_name(scope['server'][1])}={self._cookie.decode()}; Path=/; HttpOnly; SameSite=Strict"
        private = [
            (b"set-cookie", cookie.encode()),
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"no-referrer"),
        ]
        if headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
            return 303, [*private, (b"location", target.encode())], b""
        # After a link on another site the browser would not send the cookie along a redirect; our own page's is sent.
        page = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={html.escape(target)}">'
        return 200, [*private, (b"content-type", b"text/html; charset=utf-8")], page.encode()

    async def _refuse(self, scope: Scope, headers: Mapping[bytes, bytes], refusal: Refusal, send: Send) -> None:
        own = [(b"cache-control", b"no-store")]
        if refusal.status == 401:
            own.append((b"www-authenticate", b'Bearer realm="coding-mcqa"'))
        if refusal.status == 413:
            own.append((b"connection", b"close"))
        if self._pages and scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b""):
            own.append((b"content-type", b"text/html; charset=utf-8"))
            reason = html.escape(refusal.reason)
            page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{refusal.status}</title><p>{reason}'
            await _answer(send, refusal.status, own, page.encode())
            return
        own.append((b"content-type", b"application/json"))
        await _answer(send, refusal.status, own, json.dumps(self._body(refusal)).encode())


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
