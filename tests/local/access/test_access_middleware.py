"""Every server × every kind of request, as another program, a page on the web or another user would send it."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
import stat
from collections.abc import Iterator
from typing import Any

import pytest
from access_servers import EVENT, NAMED, Headers, Served

pytestmark = pytest.mark.usefixtures("processes")

SERVERS = ("broker", "events", "pipelines", "kube", "mlflow")
GUARDED = ("broker", "events", "pipelines", "kube")  # MLflow's own middleware knows less
TOKENS = ("broker", "pipelines", "kube")


@pytest.fixture
def server(request: pytest.FixtureRequest, processes: None) -> Served:
    actual: Served = request.getfixturevalue(request.param)
    return actual


def both(server: Served, headers: Headers) -> list[int]:
    """The statuses of reading and of writing."""
    method, path, own, body = server.write
    return [
        server.ask("GET", server.read, headers).status,
        server.ask(method, path, [*headers, *own], body).status,
    ]


def passes(server: Served, headers: Headers) -> None:
    read, write = both(server, headers)
    assert read == 200
    # What is written has no content where that would leave something behind.
    assert write in (202, 204, 400, 422)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "127.0.0.1", "localhost:{port}", "[::1]:{port}", f"{NAMED}", f"{NAMED}:8080"]
)
@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_names_of_this_machine(server: Served, host: str) -> None:
    passes(server, [("Host", host.format(port=server.port)), *server.bearer])


@pytest.mark.parametrize("host", ["LocalHost:{port}", "localhost.:{port}", "a.b.localhost", "127.8.9.1", "BOX.example"])
@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_less_usual_names_of_this_machine(server: Served, host: str) -> None:
    passes(server, [("Host", host.format(port=server.port)), *server.bearer])


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "127.0.0.1.evil.example",
        "127.0.0.1.evil:{port}",
        "localhost.evil.example:{port}",
        "10.evil.example",
        "192.168.1.evil.example",
        "x" + NAMED,
        NAMED + ".evil.example",
        "2130706433:{port}",
        "127.1:{port}",
        "[::ffff:127.0.0.1]",
        "",
    ],
)
@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_names_of_others_are_refused(server: Served, host: str) -> None:
    """As a rebound name of a page comes, with the token even."""
    assert both(server, [("Host", host.format(port=server.port)), *server.bearer]) == [403, 403]


@pytest.mark.parametrize("host", ["0.0.0.0:{port}", "192.168.0.9:{port}", "127.0.0.1:{port}@evil.example", "a b"])
@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_other_addresses_are_refused(server: Served, host: str) -> None:
    assert both(server, [("Host", host.format(port=server.port)), *server.bearer]) == [403, 403]


@pytest.mark.parametrize("hosts", [[], ["127.0.0.1", "evil.example"], ["evil.example", "127.0.0.1"]])
@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_one_host_a_request(server: Served, hosts: list[str]) -> None:
    assert both(server, [*(("Host", host) for host in hosts), *server.bearer]) == [400, 400]


@pytest.mark.parametrize("name", ["Origin", "Sec-Fetch-Site", "Authorization"])
@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_one_of_each_a_request(server: Served, name: str) -> None:
    value = {"Origin": server.url, "Sec-Fetch-Site": "none", "Authorization": f"Bearer {server.token}"}[name]
    assert both(server, [("Host", server.host), (name, value), (name, value)]) == [400, 400]


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate, chunked", "chunked, chunked", "identity"])
@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_a_transfer_coding_that_nothing_takes_off(server: Served, coding: str) -> None:
    method, path, own, _ = server.write
    headers = [("Host", server.host), *server.bearer, *own, ("Transfer-Encoding", coding)]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with connected(server) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n3\r\nabc\r\n0\r\n\r\n".encode())
        assert sock.recv(4096).split()[1] in (b"501", b"400")  # the parser knows some of them to be none


OURS: dict[str, Headers] = {
    "a program": [],
    "the address bar": [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")],
    "our page": [("Sec-Fetch-Site", "same-origin"), ("Origin", "http://{host}")],
    "our page, no-referrer": [("Sec-Fetch-Site", "same-origin"), ("Origin", "null")],
    "our page, older browser": [("Origin", "http://{host}")],
    "our page behind a proxy": [("Sec-Fetch-Site", "same-origin"), ("Origin", "https://proxy.example")],
    "the same, older browser": [("Origin", "https://proxy.example"), ("X-Forwarded-Host", "proxy.example, inner")],
}
THEIRS: dict[str, Headers] = {
    "another site": [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")],
    "another site, no-cors": [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
    "another site's frame": [
        ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe"),
    ],
    "another port": [("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:9")],
    "a new word": [("Sec-Fetch-Site", "cross-planet")],
    "another site, older browser": [("Origin", "https://evil.example")],
    "another port, older browser": [("Origin", "http://127.0.0.1:9")],
    "a file or a sandbox": [("Origin", "null")],
    "a prefix": [("Origin", "http://{host}.evil.example")],
    "another site, forwarded": [("Origin", "https://evil.example"), ("X-Forwarded-Host", "proxy.example")],
}  # fmt: skip


def of(server: Served, headers: Headers) -> Headers:
    return [("Host", server.host), *((n, v.format(host=server.host)) for n, v in headers), *server.bearer]


@pytest.mark.parametrize("sender", OURS)
@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_our_pages(server: Served, sender: str) -> None:
    passes(server, of(server, OURS[sender]))


@pytest.mark.parametrize("sender", THEIRS)
@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_pages_of_others_are_refused(server: Served, sender: str) -> None:
    assert both(server, of(server, THEIRS[sender])) == [403, 403]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_pages_of_others_cannot_write_to_mlflow(mlflow: Served, origin: str) -> None:
    method, path, own, body = mlflow.write
    sent = [("Host", mlflow.host), ("Origin", origin), *own]
    assert mlflow.ask(method, path, sent, body).status == 403
    read = mlflow.ask("GET", mlflow.read, [("Host", mlflow.host), ("Origin", origin)])
    assert "access-control-allow-origin" not in read.headers


@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_a_preflight_allows_nothing(server: Served) -> None:
    asked = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "ce-id")]
    answer = server.ask("OPTIONS", server.write[1], of(server, [*THEIRS["another site"], *asked]))
    assert answer.status == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Nothing", ""),
        ("Authorization", ""),
        ("Authorization", "Bearer"),
        ("Authorization", "Bearer x"),
        ("Authorization", "Bearer {token}x"),
        ("Authorization", "{token}"),
        ("Authorization", "Basic {basic}"),
        ("Cookie", "mcqa-{port}={token}"),
        ("Cookie", "token={token}"),
    ],
)
@pytest.mark.parametrize("server", TOKENS, indirect=True)
def test_without_the_token(server: Served, name: str, value: str) -> None:
    basic = base64.b64encode(f"x:{server.token}".encode()).decode()
    header = (name, value.format(token=server.token, basic=basic, port=server.port))
    assert both(server, [("Host", server.host), header]) == [401, 401]


@pytest.mark.parametrize("server", TOKENS, indirect=True)
def test_the_token_in_an_address_is_none(server: Served) -> None:
    method, path, own, body = server.write
    assert server.ask(method, f"{path}?token={server.token}", [("Host", server.host), *own], body).status == 401


@pytest.mark.parametrize("server", TOKENS, indirect=True)
def test_whoever_asks_is_told_how(server: Served) -> None:
    answer = server.ask("GET", server.read, [("Host", server.host)])
    facts = json.loads(answer.text)
    if server.name == "kube":
        assert (facts["kind"], facts["code"], facts["reason"]) == ("Status", 401, "Unauthorized")
        return
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "Authorization: Bearer" in facts["error"]
    assert server.token not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_of_the_broker_need_no_token(broker: Served, path: str) -> None:
    assert broker.ask("GET", path, [("Host", broker.host)]).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/metrics", "/-/objects", "/-/events", "/-/events/1", "/-/dead-letters", "/-/figures", "/-/nothing",
        "/%2d/events", "/-/../-/events", "/-//events",
    ],
)  # fmt: skip
def test_all_else_of_the_broker_needs_it(broker: Served, path: str) -> None:
    assert broker.ask("GET", path, [("Host", broker.host)]).status == 401


@pytest.mark.parametrize("path", ["//-/events", "/default/default", "/x/-/events"])
def test_other_paths_of_the_broker_are_its_door(broker: Served, path: str) -> None:
    assert broker.ask("GET", path, [("Host", broker.host)]).status == 405


@pytest.mark.parametrize("path", ["/", "/runs/x", "/runs/x/files/y", "/apis/v2beta1/pipelines", "/nothing"])
def test_all_of_the_pipelines_needs_it(pipelines: Served, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PUT", "OPTIONS"):
        assert pipelines.ask(method, path, [("Host", pipelines.host)]).status == 401
    assert pipelines.ask("GET", "/apis/v2beta1/healthz", [("Host", pipelines.host)]).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_page_may_send_without_asking_is_no_event(events: Served, broker: Served, kind: str) -> None:
    """A form of an old browser, which says nothing of where it comes from."""
    event = json.dumps({"specversion": "1.0", "id": "form", "source": "/x", "type": "form"}).encode()
    headers = [("Host", events.host), *([("Content-Type", kind)] if kind else [])]
    assert events.ask("POST", "/default/default", headers, event).status == 400
    response = broker.ask("GET", "/-/events?type=form", [("Host", broker.host), *broker.bearer])
    assert json.loads(response.text)["items"] == []


def test_refused_events_are_not_kept(events: Served, broker: Served) -> None:
    sent = [*(header for header in EVENT if header[0] != "ce-type"), ("ce-type", "rebound")]
    for headers in ([("Host", f"evil.example:{events.port}")], of(events, THEIRS["another site"])):
        assert events.ask("POST", "/default/default", [*headers, *sent]).status == 403
    response = broker.ask("GET", "/-/events?type=rebound", [("Host", broker.host), *broker.bearer])
    assert json.loads(response.text)["items"] == []


@contextlib.contextmanager
def connected(server: Served) -> Iterator[Any]:
    with socket.create_connection(("127.0.0.1", server.port), 30) as plain:
        yield ssl._create_unverified_context().wrap_socket(plain) if server.tls else plain


@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_a_body_too_large_is_refused_before_it_is_read(server: Served) -> None:
    method, path, own, _ = server.write
    headers = [("Host", server.host), *server.bearer, *own, ("Content-Length", str(10**9))]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with connected(server) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
        assert sock.recv(4096).split()[1] == b"413"


@pytest.mark.parametrize("server", GUARDED, indirect=True)
def test_a_head_without_end_is_not_kept(server: Served) -> None:
    """That half a request is not waited for either is test_connection_limits' matter: here it would take 30 s."""
    with connected(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 60_000)
        sock.sendall(b"a" * 5_600)
        assert sock.recv(4096).split()[1] == b"431"


# A browser.

PAGE: Headers = [("Accept", "text/html,*/*"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]


def entered(pipelines: Served) -> str:
    """The cookie that the printed link leaves."""
    headers = [("Host", pipelines.host), *PAGE, ("Sec-Fetch-Site", "none")]
    answer = pipelines.ask("GET", f"/?token={pipelines.token}", headers)
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert pipelines.token not in cookie
    assert cookie.startswith(f"mcqa-{pipelines.port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie.lower()
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
    return cookie.partition(";")[0]


def test_the_printed_link_lets_a_browser_in(pipelines: Served) -> None:
    cookie = ("Cookie", f"other=1; {entered(pipelines)}; mcqa-1=x")
    host = ("Host", pipelines.host)
    page = pipelines.ask("GET", "/", [host, *PAGE, ("Sec-Fetch-Site", "none"), cookie])
    assert page.status == 200
    assert "Pipeline runs" in page.text
    # The API too, from our page.
    own = ("Sec-Fetch-Site", "same-origin")
    assert pipelines.ask("GET", "/apis/v2beta1/runs", [host, own, cookie]).status == 200
    method, path, json_, body = pipelines.write
    assert pipelines.ask(method, path, [host, own, cookie, *json_], body).status == 400  # no name
    origin = ("Origin", pipelines.url)
    assert pipelines.ask(method, path, [host, origin, cookie, *json_], body).status == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Sec-Fetch-Site", "same-site")], 403),
        ([("Sec-Fetch-Site", "cross-site")], 403),
        ([("Origin", "http://127.0.0.1:9")], 403),
        ([("Origin", "null")], 403),
        ([], 401),  # an old browser's form: nothing says that the page was ours
    ],
)
def test_the_cookie_does_not_help_other_pages_to_write(pipelines: Served, headers: Headers, status: int) -> None:
    method, path, own, body = pipelines.write
    sent = [("Host", pipelines.host), ("Cookie", entered(pipelines)), *headers, *own]
    assert pipelines.ask(method, path, sent, body).status == status


def test_the_cookie_is_for_one_server(pipelines: Served, broker: Served) -> None:
    value = entered(pipelines).partition("=")[2]
    for name in (f"mcqa-{broker.port}", f"mcqa-{pipelines.port}"):
        sent = [("Host", broker.host), ("Cookie", f"{name}={value}")]
        assert broker.ask("GET", broker.read, sent).status == 401
    sent = [("Host", pipelines.host), ("Cookie", f"mcqa-{broker.port}={value}")]
    assert pipelines.ask("GET", pipelines.read, sent).status == 401
    # Nor is it a token.
    assert both(pipelines, [("Host", pipelines.host), ("Authorization", f"Bearer {value}")]) == [401, 401]


def test_a_page_without_the_cookie_says_what_to_do(pipelines: Served) -> None:
    for site in ("none", "cross-site"):  # a link on another site opens it, too
        answer = pipelines.ask("GET", "/", [("Host", pipelines.host), *PAGE, ("Sec-Fetch-Site", site)])
        assert answer.status == 401
        assert answer.headers["content-type"].startswith("text/html")
        assert len(re.findall(r"<p>", answer.text)) == 1
        assert "mcqa up" in answer.text


def test_a_link_elsewhere_with_the_token_lets_in_as_well(pipelines: Served) -> None:
    """Along a redirect from another site the browser would not send a strict cookie; from our own page it does."""
    headers = [("Host", pipelines.host), *PAGE, ("Sec-Fetch-Site", "cross-site")]
    answer = pipelines.ask("GET", f"/runs/x?token={pipelines.token}&a=1", headers)
    assert (answer.status, answer.headers["location"]) == (200, None)
    assert 'content="0;url=/runs/x?a=1"' in answer.text
    assert answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/?token={token}", "/"),
        ("/runs/a%20b?x=1&token={token}&y=%C3%A9", "/runs/a%20b?x=1&y=%C3%A9"),
        ("//evil.example/?token={token}", "/evil.example/"),
        ("/%5cevil.example/?token={token}", "/evil.example/"),
        ("/%0d%0aSet-Cookie:x?token={token}", "/%0D%0ASet-Cookie:x"),
    ],
)
def test_the_link_leads_to_this_server_only(pipelines: Served, path: str, location: str) -> None:
    answer = pipelines.ask("GET", path.format(token=pipelines.token), [("Host", pipelines.host)])
    assert (answer.status, answer.headers["location"]) == (303, location)


@pytest.mark.parametrize("value", ["", "x", "{token}x", "%C3%A9", "x&page_token={token}"])
def test_another_token_in_a_link_does_not(pipelines: Served, value: str) -> None:
    answer = pipelines.ask("GET", f"/?token={value.format(token=pipelines.token)}", [("Host", pipelines.host)])
    assert (answer.status, answer.headers["set-cookie"]) == (401, None)


def test_no_token_is_in_a_log(broker: Served, pipelines: Served, kube: Served) -> None:
    entered(pipelines)
    for server in (broker, pipelines, kube):
        server.ask("GET", f"{server.read}?token={server.token}", [("Host", server.host)])
        assert server.log is not None
        assert server.token not in server.log.read_text()


def test_tokens_are_their_owners(broker: Served) -> None:
    assert broker.log is not None
    mode = stat.S_IMODE((broker.log.parent / "token").stat().st_mode)
    assert mode == 0o600
