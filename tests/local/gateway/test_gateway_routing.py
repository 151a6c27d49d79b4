"""Which service a request reaches, from which listener, sent by whom."""

from __future__ import annotations

from typing import Any

import pytest
from gateway_cases import Rig, read_message, request

from local.gateway.control_protocol import GatewayState, Route, decode_state, encode_state
from local.gateway.errors import GatewayError
from local.gateway.http_message import RequestHead
from local.gateway.routing import Listener, match_route
from local.serving.traffic import TrafficTarget

OPEN = Route((TrafficTarget("m-1", 100, "prev"),))
LOCAL = Route((TrafficTarget("f-1", 100),), local=True)
STATE = GatewayState(
    "localhost:8080",
    ("d", "m"),
    ("mcqa.example.org",),
    routes={("d", "m-predictor"): OPEN, ("d", "f"): LOCAL, ("dev", "m"): OPEN},
)


def head(host: str, target: str = "/", method: str = "POST", **headers: str) -> RequestHead:
    lines = [(b"Host", host.encode())]
    lines += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return RequestHead(method.encode(), target.encode(), host.encode(), lines, b"1.1", "none", 0)


def reached(listener: Listener, *arguments: str, **headers: str) -> int | tuple[str, str]:
    """The service and the target, or the status of the refusal."""
    try:
        place = match_route(STATE, listener, head(*arguments, **headers))
    except GatewayError as refusal:
        return refusal.status
    return f"{place.key[1]}{'/' + place.tag if place.tag else ''}", place.target.decode()


M, F = ("m-predictor", "/"), ("f", "/")


@pytest.mark.parametrize(
    ("host", "target", "external", "internal"),
    [
        ("127.0.0.1:8080", "/", M, 404),  # the default is for those who ask questions
        ("localhost", "/v1?q", ("m-predictor", "/v1?q"), 404),
        ("[::1]:8080", "/", M, 404),
        ("", "/", M, 404),  # HTTP/1.0
        ("mcqa.example.org", "/", M, 404),  # a proxy's name, allowed
        ("MCQA.example.org:443", "/", M, 404),
        ("m.d.localhost:8080", "/", M, M),
        ("prev-m.d.localhost", "/", ("m-predictor/prev", "/"), ("m-predictor/prev", "/")),
        ("m.d.svc.cluster.local", "/", M, M),
        ("m.d.svc", "/", 404, M),
        ("m.d", "/", 404, M),
        ("m.dev", "/", 404, ("m", "/")),  # somebody may own that domain, and point it here
        ("f.d.localhost:8080", "/", 404, F),
        ("f.d.svc.cluster.local", "/", 404, F),
        ("f.d", "/", 404, F),
        ("127.0.0.1", "/-/services/d/f", 404, F),
        ("127.0.0.1", "/-/services/d/f/mlflow?a", 404, ("f", "/mlflow?a")),
        ("127.0.0.1", "/-/services/d/m/v1", ("m-predictor", "/v1"), ("m-predictor", "/v1")),
        ("127.0.0.1.", "/-/services/d/nobody/v1", 404, 404),
        ("m.d.localhost.evil.example", "/", 404, 404),
        ("evil.example", "/", 404, 404),  # DNS rebinding
        ("evil.example", "/-/services/d/f/", 404, 404),
        ("[::1", "/", 404, 404),
    ],
)
def test_where_a_request_goes(host: Any, target: Any, external: Any, internal: Any) -> None:
    assert (reached("external", host, target), reached("internal", host, target)) == (external, internal)


BROWSER = {"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "empty"}


@pytest.mark.parametrize(
    ("method", "headers", "external", "internal"),
    [
        ("POST", {}, M, F),  # curl, a program, a proxy
        ("POST", {"Sec_Fetch_Site": "cross-site", **BROWSER}, 403, 403),
        ("POST", {"Sec_Fetch_Site": "same-site", **BROWSER}, 403, 403),  # another port of localhost
        ("POST", {"Sec_Fetch_Site": "same-origin", **BROWSER}, M, 403),
        ("POST", {"Sec_Fetch_Site": "none", **BROWSER}, M, F),  # typed by the user
        ("GET", {"Sec_Fetch_Site": "cross-site", **BROWSER}, M, 403),
        ("DELETE", {"Sec_Fetch_Site": "cross-site", **BROWSER}, 403, 403),
        ("POST", {"Origin": "https://evil.example"}, 403, 403),  # a browser without Fetch Metadata
        ("POST", {"Origin": "null"}, 403, 403),
        ("POST", {"Origin": "http://m.d.localhost"}, M, 403),
        ("POST", {"Origin": "https://mcqa.example.org", "X_Forwarded_Host": "mcqa.example.org"}, M, 403),
        # A proxy that rewrites Host: the browser says so itself.
        ("POST", {"Origin": "https://mcqa.example.org", "Sec_Fetch_Site": "same-origin"}, M, 403),
    ],
)
def test_pages_of_other_sites(method: Any, headers: Any, external: Any, internal: Any) -> None:
    response = reached("external", "m.d.localhost", "/", method, **headers)
    assert (response, reached("internal", "f.d.svc.cluster.local", "/", method, **headers)) == (external, internal)


def test_a_state_survives_the_wire() -> None:
    assert decode_state(encode_state(STATE, 7)) == (STATE, 7)


@pytest.mark.usefixtures("processes")
async def test_a_cluster_local_service_is_reached_by_the_inner_listener_only(gateway: Rig) -> None:
    for host in (b"f.d.localhost", b"f.d.svc.cluster.local"):
        assert (await gateway.exchange(request(host=host))).status == 404
        assert (await gateway.exchange(request(host=host), gateway.internal)).status == 200
    path = request(target=b"/-/services/d/f/mlflow")
    assert (await gateway.exchange(path)).status == 404
    assert (await gateway.exchange(path, gateway.internal)).status == 200
    foreign = request(b"", "none", b"Sec-Fetch-Site: cross-site", target=b"/-/services/d/f/mlflow")
    assert (await gateway.exchange(foreign, gateway.internal)).status == 403
    assert [message.start for message in gateway.upstream.seen][-1] == b"POST /mlflow HTTP/1.1"
    # What a listener refuses leaves the connection usable: nothing of it was in doubt.
    async with gateway.connect() as (reader, writer):
        writer.write(request(b"abc", "length", host=b"f.d.localhost") + request(b"abc", "length"))
        assert [(await read_message(reader)).status for _ in "ab"] == [404, 200]
