"""Which service a request is for, and whether it may reach it from where it came in. Pure.

Two listeners, as a cluster has two gateways. The outer one takes questions: it knows the services that are not
`cluster-local`, by their outer name, by the path `/-/services/<namespace>/<name>/…`, or, without any name, the default.
The inner one is for the platform's own senders (broker, PingSources, MLflow's webhooks): it knows every service, and
nothing that a browser sends. Neither answers to a foreign host, which a page on the web could point at this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from local.gateway.errors import Refusal
from local.gateway.requests import Head
from local.gateway.state import Key, Route, State
from local.loopback import cross_site
from local.serving.hosts import CLUSTER, PREDICTOR, parse_host, parse_path, without_name
from local.serving.traffic import tagged

Listener = Literal["outer", "inner"]
_SAFE = (b"GET", b"HEAD", b"OPTIONS")


@dataclass(frozen=True, slots=True)
class Place:
    """A service's key and route, the tag that was asked for ("" for none), and the target to pass on."""

    key: Key
    route: Route
    tag: str
    target: bytes


def place_of(state: State, listener: Listener, head: Head) -> Place:
    """Where a request goes; Refusal: 403 for another site's page, 404 for a host nobody has here."""
    host, path = head.host.decode("latin-1"), head.target.decode("latin-1")
    refuse_foreign(listener, head)
    name: tuple[str, str] | None
    if not host or without_name(host) or _bare(host) in state.hosts:
        name = (state.default[1], state.default[0]) if state.default and listener == "outer" else None
        if found := parse_path(path):
            name, path = found
    else:
        name = parse_host(host, state.domain, inside=listener == "inner")
    service = find(state.routes, *name) if name else None
    if not service or (state.routes[service[0]].local and listener == "outer"):
        raise Refusal(404, f"no service has the host {host}")
    key, tag = service
    return Place(key, state.routes[key], tag, path.encode("latin-1"))


def refuse_foreign(listener: Listener, head: Head) -> None:
    """Refusal (403) of what a page of another site makes a browser send: browsers say so, and nobody else does.

    From the outer listener such a page may read what anybody may link to; the inner one is for no page at all.
    """
    headers = {name.lower(): value for name, value in head.headers}
    if listener == "inner":
        refused = b"origin" in headers or headers.get(b"sec-fetch-site", b"none") != b"none"
    else:
        refused = head.method not in _SAFE and cross_site(head.method.decode(), headers, pages=False)
    if refused:
        raise Refusal(403, "a page of another site may not send this; ask from a program, or from a page of this host")


def find(routes: Mapping[Key, Route], name: str, namespace: str) -> tuple[Key, str] | None:
    """The service and the tag that a host's first label means: `name`, or `tag-name`; also by InferenceService."""
    for candidate, tag in _readings(name):
        for service in (candidate, candidate + PREDICTOR):
            route = routes.get((namespace, service))
            if route is not None and (not tag or tagged(route.targets, tag)):
                return (namespace, service), tag
    return None


def internal_url(url: str, inner: str) -> tuple[str, str]:
    """A cluster URL of a Knative Service as (URL at the inner listener, Host header), any other URL as it is."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    if parse_host(place, CLUSTER, inside=True) and place.partition(":")[0].endswith(f".{CLUSTER}"):
        return f"{scheme}://{inner}{slash}{path}", place
    return url, ""


def _readings(label: str) -> Iterable[tuple[str, str]]:
    yield label, ""
    parts = label.split("-")
    for index in range(1, len(parts)):
        yield "-".join(parts[index:]), "-".join(parts[:index])


def _bare(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
