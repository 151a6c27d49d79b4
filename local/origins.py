"""Which Host headers name this machine, and which requests a web page of another site sent. Pure.

Loopback keeps out other machines, but not web pages: a page in a browser here can send requests to any local port and,
by letting its own name resolve to 127.0.0.1 (DNS rebinding), read the responses. Hand-written: Starlette's
TrustedHostMiddleware compares a fixed list of names, and nothing in use evaluates Sec-Fetch-Site.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache

ALLOWED_HOSTS = "MCQA_ALLOWED_HOSTS"
SAFE_METHODS = ("GET", "HEAD")

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\s:/?#@\\\[\]]+)(?::(?P<port>\d{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class AllowedHostsError(ValueError):
    """MCQA_ALLOWED_HOSTS contains something that is not a host name; one line for people."""


def allowed_hosts(environ: Mapping[str, str]) -> frozenset[str]:
    """The names in MCQA_ALLOWED_HOSTS, separated by commas and without ports; AllowedHostsError."""
    names = set()
    for entry in environ.get(ALLOWED_HOSTS, "").split(","):
        name = entry.strip().lower().rstrip(".")
        if not name:
            continue
        if not (_NAME.fullmatch(name) or _address(name.strip("[]"))):
            raise AllowedHostsError(
                f"{ALLOWED_HOSTS}: {entry.strip()[:80]!r} is not a host name; give names without ports, "
                "separated by commas"
            )
        names.add(name.strip("[]"))
    return frozenset(names)


def host_allowed(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this machine (a loopback address, localhost and names under it) or one of `names`.

    The port is ignored, because a published or forwarded port differs from the one listened on. No web page's name
    ends in `.localhost` (RFC 6761, section 6.3). 0.0.0.0 leads here too, but only web pages use it.
    """
    match = _AUTHORITY.fullmatch(host)
    if match is None:
        return False
    name = match["name"].lower().rstrip(".")
    address = _address(name.strip("[]"))
    if address is not None:
        return address.is_loopback or str(address) in names or name.strip("[]") in names
    return name == "localhost" or name.endswith(".localhost") or name in names


def cross_site(method: str, headers: Mapping[bytes, bytes], *, has_pages: bool) -> bool:
    """Whether a web page of another site, or of another port, sent this request.

    Sec-Fetch-Site is reliable even behind a proxy that rewrites Host. Without it (an older browser, or plain HTTP to a
    name other than localhost's) the Origin must be ours: Host, or what a proxy reports as the original Host. Links on
    other sites may open a page, if the server `has_pages`.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        if site in (b"same-origin", b"none"):
            return False
        opens_page = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
        return not (has_pages and method in SAFE_METHODS and opens_page)
    origin = headers.get(b"origin")
    return origin is not None and not _same_origin(headers, origin)


def from_our_page(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser states that one of our pages, or the user, sent it: stating nothing is not enough."""
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return site in (b"same-origin", b"none")
    return (origin := headers.get(b"origin")) is not None and _same_origin(headers, origin)


def _same_origin(headers: Mapping[bytes, bytes], origin: bytes) -> bool:
    scheme, separator, authority = origin.decode("latin-1").lower().partition("://")
    if not separator or scheme not in _DEFAULT_PORTS:
        return False  # null: a sandboxed frame or a file
    port = _DEFAULT_PORTS[scheme]
    forwarded = headers.get(b"x-forwarded-host", b"").decode("latin-1").partition(",")[0].strip()
    ours = (headers.get(b"host", b"").decode("latin-1"), forwarded)
    theirs = _split_authority(authority, port)
    return theirs is not None and theirs in [_split_authority(host, port) for host in ours]


def _split_authority(text: str, default_port: str) -> tuple[str, str] | None:
    match = _AUTHORITY.fullmatch(text.lower())
    return (match["name"], match["port"] or default_port) if match else None


@lru_cache(maxsize=256)
def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
