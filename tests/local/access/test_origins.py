"""The guard's decisions on names and origins, as tables; that servers follow them is test_access_middleware's."""

from __future__ import annotations

import pytest

from local.access_middleware import cookie_value, login_link
from local.origins import (
    AllowedHostsError,
    allowed_hosts,
    cross_site,
    from_our_page,
    host_allowed,
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", set()),
        (" , ,", set()),
        ("box.example", {"box.example"}),
        (" Box.Example. ,other-box,10.0.0.5,[fd00::1]", {"box.example", "other-box", "10.0.0.5", "fd00::1"}),
    ],
)
def test_allowed_hosts(text: str, names: set[str]) -> None:
    assert allowed_hosts({"MCQA_ALLOWED_HOSTS": text}) == names


@pytest.mark.parametrize(
    "text", ["*", "*.example", "http://box.example", "box.example:80", "a b", "box/", "-a", "x" * 300]
)
def test_what_is_no_host_name(text: str) -> None:
    with pytest.raises(AllowedHostsError, match=r"MCQA_ALLOWED_HOSTS: .* is not a host name"):
        allowed_hosts({"MCQA_ALLOWED_HOSTS": f"localhost,{text}"})


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("localhost:65535", True),
        ("a.localhost.", True),
        ("127.0.0.1", True),
        ("127.255.255.254:1", True),
        ("[::1]", True),
        ("[0:0:0:0:0:0:0:1]:80", True),
        ("box.example", True),
        ("[fd00::1]:80", True),
        ("10.0.0.5", True),
        ("10.0.0.6", False),
        ("fd00::1", False),  # an address of version 6 stands in brackets
        ("::1", False),
        ("localhost:", False),
        ("localhost:x", False),
        ("localhost:123456", False),
        ("localhost,evil.example", False),
        ("localhost evil.example", False),
        ("localhost/evil.example", False),
        ("evil.example#localhost", False),
        ("evil.example:80\tlocalhost", False),
        ("xlocalhost", False),
        ("localhost.example", False),
        ("0", False),
        ("0x7f000001", False),
        ("127.0.0.01", False),
        ("[::]", False),
        ("[::1", False),
        ("[localhost]", False),
        ("", False),
        (".", False),
    ],
)
def test_hosts(host: str, allowed: bool) -> None:
    assert host_allowed(host, frozenset({"box.example", "10.0.0.5", "fd00::1"})) is allowed


def headers(**given: str) -> dict[bytes, bytes]:
    return {
        name.replace("_", "-").encode(): value.encode() for name, value in {"host": "localhost:80", **given}.items()
    }


LINK = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


@pytest.mark.parametrize(
    ("method", "given", "cross", "pages"),
    [
        ("GET", {}, False, False),
        ("GET", LINK, True, False),  # where there are no pages, nobody follows links
        ("GET", LINK, False, True),
        ("HEAD", LINK, False, True),
        ("POST", LINK, True, True),  # a form of another site
        ("GET", {**LINK, "sec_fetch_dest": "embed"}, True, True),
        ("GET", {**LINK, "sec_fetch_mode": "no-cors"}, True, True),
        ("GET", {"origin": "http://localhost"}, False, False),  # 80 is http's
        ("GET", {"origin": "HTTP://LOCALHOST:80"}, False, False),
        ("GET", {"origin": "http://localhost:81"}, True, False),
        ("GET", {"origin": "ftp://localhost"}, True, False),
        ("GET", {"origin": "localhost:80"}, True, False),
        ("GET", {"origin": ""}, True, False),
        ("GET", {"origin": "http://"}, True, False),
        ("GET", {"origin": "http://localhost@evil.example"}, True, False),
        ("GET", {"origin": "https://p.example", "x_forwarded_host": "P.example"}, False, False),
        ("GET", {"origin": "https://p.example:8443", "x_forwarded_host": "p.example:8443"}, False, False),
        ("GET", {"origin": "https://p.example", "x_forwarded_host": "q.example"}, True, False),
        ("GET", {"origin": "null", "x_forwarded_host": "null"}, True, False),
    ],
)
def test_other_sites(method: str, given: dict[str, str], cross: bool, pages: bool) -> None:
    assert cross_site(method, headers(**given), has_pages=pages) is cross


def test_our_pages_say_so() -> None:
    assert not from_our_page(headers())
    assert from_our_page(headers(sec_fetch_site="same-origin"))
    assert not from_our_page(headers(sec_fetch_site="same-site", origin="http://localhost"))
    assert from_our_page(headers(origin="http://localhost"))


def test_links_and_cookies() -> None:
    assert login_link("http://127.0.0.1:8888/", "a-_b") == "http://127.0.0.1:8888/?token=a-_b"
    assert len({cookie_value("a"), cookie_value("b"), "a", "b"}) == 4
