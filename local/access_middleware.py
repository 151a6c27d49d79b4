"""Access control in front of every server of the embedded platform, although they only listen on 127.0.0.1.

Loopback keeps out other machines, but neither web pages (`origins.py`) nor this machine's other users, who can connect
as we can. So a request is passed on if

1. its Host is this machine or one of the names in MCQA_ALLOWED_HOSTS, which a page's rebound name is not;
2. no page of another site sent it, according to Sec-Fetch-Site, which pages cannot forge, or else to Origin;
3. it has the server's token, unless the path is public: in `Authorization: Bearer …` or, from a browser, in the cookie
   that a link with `?token=…` has set.

Otherwise the response is 403 (the first two) or 401, in the form of the server's other errors.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from local.origins import ALLOWED_HOSTS, SAFE_METHODS, cross_site, from_our_page, host_allowed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_RELEVANT_HEADERS = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"x-forwarded-host",
     b"authorization", b"cookie", b"content-length", b"transfer-encoding", b"accept"}
)  # fmt: skip
_SINGLE_HEADERS = frozenset({b"host", b"origin", b"sec-fetch-site", b"authorization", b"transfer-encoding"})
_COOKIE_SECONDS = 30 * 86400


@dataclass(frozen=True, slots=True)
class Denial:
    """`status` 401, 403, 413, 400 or 501, and one line for people."""

    status: int
    reason: str


ErrorBody = Callable[[Denial], Any]
"""Renders a denial as JSON in the form of the server's other errors."""


def cookie_name(port: int) -> str:
    """A browser keeps one set of cookies for all ports of a host, so each server's cookie has its port in the name."""
    return f"mcqa-{port}"


def cookie_value(token: str) -> str:
    """Not the token itself, because every local server that the browser visits sees the cookie."""
    return hmac.new(token.encode(), b"coding-mcqa browser cookie", hashlib.sha256).hexdigest()


def login_link(url: str, token: str, path: str = "/") -> str:
    """The link that logs a browser in."""
    return f"{url.rstrip('/')}{path}?{urlencode({'token': token})}"


class AccessMiddleware:
    """The ASGI middleware. `token` is empty if the application checks its own; `is_public(method, path)` tells what
    needs none. `max_body`: a larger Content-Length is a 413 before any of the body is read. `has_pages`: people use it
    with a browser, so links and cookies work. `hint` tells a person without the token what to do.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = (),
        token: str = "",
        is_public: Callable[[str, str], bool] = lambda method, path: False,
        max_body: int,
        error_body: ErrorBody = lambda denial: {"error": denial.reason},
        has_pages: bool = False,
        hint: str = "",
    ) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._token = token.encode()
        self._cookie = cookie_value(token).encode()
        self._is_public = is_public
        self._max_body = max_body
        self._error_body = error_body
        self._has_pages = has_pages
        self._hint = hint
        self._accepted_hosts: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers: dict[bytes, bytes] = {}
        repeated = b""
        for name, value in scope["headers"]:
            if name in _RELEVANT_HEADERS:
                if name in headers and name in _SINGLE_HEADERS:
                    repeated = name
                headers[name] = value
        denial = self._deny_suspicious(scope, headers, repeated)
        if denial is None and self._has_pages and (entry_response := self._entry_response(scope, headers)) is not None:
            await _respond(send, *entry_response)
            return
        denial = denial or self._deny_unauthenticated(scope, headers)
        if denial is None:
            await self._app(scope, receive, send)
        else:
            await self._send_denial(scope, headers, denial, send)

    def _deny_suspicious(self, scope: Scope, headers: Mapping[bytes, bytes], repeated: bytes) -> Denial | None:
        if repeated:
            return Denial(400, f"the header {repeated.decode()} appears twice")
        host = headers.get(b"host")
        if host is None:
            return Denial(400, "the header host is missing")
        if host not in self._accepted_hosts:
            shown = host.decode("latin-1")
            if not host_allowed(shown, self._hosts):
                return Denial(
                    403, f"host {shown[:80]!a} is not this machine; put other names of it into {ALLOWED_HOSTS}"
                )
            if len(self._accepted_hosts) < 64:
                self._accepted_hosts.add(host)
        if (b"origin" in headers or b"sec-fetch-site" in headers) and cross_site(
            scope["method"], headers, has_pages=self._has_pages
        ):
            return Denial(403, "requests from pages of another site or port are refused")
        if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            # Nothing here decodes another coding, so the body would be read as it is.
            return Denial(501, "chunked is the only transfer coding that is supported here")
        if (length := headers.get(b"content-length")) and length.isdigit() and int(length[:18]) > self._max_body:
            return Denial(413, f"the body is larger than {self._max_body} bytes")
        return None

    def _deny_unauthenticated(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Denial | None:
        if not self._token or self._is_public(scope["method"], scope["path"]) or self._is_authenticated(scope, headers):
            return None
        return Denial(401, f"this requires the server's token{self._hint and ': ' + self._hint}")

    def _is_authenticated(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return True
        if not self._has_pages or b"cookie" not in headers:
            return False
        # A browser attaches the cookie to every request; that one of our pages sent this one must be shown separately.
        if scope["method"] not in SAFE_METHODS and not from_our_page(headers):
            return False
        name = cookie_name(scope["server"][1]).encode()
        pairs = (pair.strip().partition(b"=") for pair in headers[b"cookie"].split(b";"))
        return any(key == name and hmac.compare_digest(value, self._cookie) for key, _, value in pairs)

    def _entry_response(
        self, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
        """The response to a link with the right token: a cookie, and the same page without the token in its address."""
        if scope["method"] != "GET" or b"token=" not in scope["query_string"]:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if not any(hmac.compare_digest(value.encode("latin-1", "replace"), self._token) for value in given):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # One slash: //name would be another machine.
        target = "/" + quote(scope["path"].lstrip("/\\"), safe="/:@!$&'()*+,;=~") + (f"?{rest}" if rest else "")
        options = f"Path=/; Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Strict"
        cookie = f"{cookie_name(scope['server'][1])}={self._cookie.decode()}; {options}"
        private = [
            (b"set-cookie", cookie.encode()),
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"no-referrer"),
        ]
        if headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
            return 303, [*private, (b"location", target.encode())], b""
        # After a link on another site the browser would not send the cookie with a redirect; from our own page it does.
        page = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={html.escape(target)}">'
        return 200, [*private, (b"content-type", b"text/html; charset=utf-8")], page.encode()

    async def _send_denial(self, scope: Scope, headers: Mapping[bytes, bytes], denial: Denial, send: Send) -> None:
        own = [(b"cache-control", b"no-store")]
        if denial.status == 401:
            own.append((b"www-authenticate", b'Bearer realm="coding-mcqa"'))
        if self._has_pages and scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b""):
            own.append((b"content-type", b"text/html; charset=utf-8"))
            reason = html.escape(denial.reason)
            page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{denial.status}</title><p>{reason}'
            await _respond(send, denial.status, own, page.encode())
            return
        own.append((b"content-type", b"application/json"))
        await _respond(send, denial.status, own, json.dumps(self._error_body(denial)).encode())


async def _respond(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
