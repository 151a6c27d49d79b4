"""Which service a request is for, and whether it may reach it through this listener. Pure.

There are two listeners, as a cluster has two gateways. The external one accepts questions: it knows the services that
are not `cluster-local`, by their external name, by the path `/-/services/<namespace>/<name>/…`, or, without any name,
the default service. The internal one is for the platform's own senders (broker, PingSources, MLflow's webhooks): it
knows every service and rejects whatever a browser sends. Neither accepts a foreign host, which a web page could point
at this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from local.gateway.control_protocol import GatewayState, NamespacedName, Route
from local.gateway.errors import GatewayError
from local.gateway.http_message import RequestHead
from local.origins import cross_site
from local.serving.hosts import CLUSTER, PREDICTOR, names_this_machine, parse_host, parse_path, to_local_url
from local.serving.traffic import revision_for_tag

Listener = Literal["external", "internal"]
_SAFE_METHODS = (b"GET", b"HEAD", b"OPTIONS")


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """A service's name and route, the requested tag ("" for none), and the target to pass on."""

    key: NamespacedName
    route: Route
    tag: str
    target: bytes


def match_route(state: GatewayState, listener: Listener, head: RequestHead) -> RouteMatch:
    """The route of a request; GatewayError: 403 for another site's page, 404 for an unknown host."""
    host, path = head.host.decode("latin-1"), head.target.decode("latin-1")
    reject_cross_site(listener, head)
    name: tuple[str, str] | None
    if not host or names_this_machine(host) or _hostname(host) in state.hosts:
        name = (state.default[1], state.default[0]) if state.default and listener == "external" else None
        if named := parse_path(path):
            name, path = named
    else:
        name = parse_host(host, state.domain, inside=listener == "internal")
    service = find_service(state.routes, *name) if name else None
    if not service or (state.routes[service[0]].local and listener == "external"):
        raise GatewayError(404, f"no service has the host {host}")
    key, tag = service
    return RouteMatch(key, state.routes[key], tag, path.encode("latin-1"))


def reject_cross_site(listener: Listener, head: RequestHead) -> None:
    """GatewayError (403) for what a page of another site makes a browser send: browsers state that in headers.

    From the external listener such a page may read what anybody may link to; the internal one is not for pages at all.
    """
    headers = {name.lower(): value for name, value in head.headers}
    if listener == "internal":
        rejected = b"origin" in headers or headers.get(b"sec-fetch-site", b"none") != b"none"
    else:
        rejected = head.method not in _SAFE_METHODS and cross_site(head.method.decode(), headers, has_pages=False)
    if rejected:
        raise GatewayError(403, "a page of another site must not send this; use a program or a page of this host")


def find_service(
    routes: Mapping[NamespacedName, Route], name: str, namespace: str
) -> tuple[NamespacedName, str] | None:
    """The service and tag that a host's first label stands for: `name` or `tag-name`, also of an InferenceService."""
    for candidate, tag in _split_tag(name):
        for service in (candidate, candidate + PREDICTOR):
            route = routes.get((namespace, service))
            if route is not None and (not tag or revision_for_tag(route.targets, tag)):
                return (namespace, service), tag
    return None


def locate(url: str, addresses: Mapping[str, str], listener_address: str) -> tuple[str, str]:
    """A cluster URL as (local URL, Host header or ""): by `addresses`, or through the internal listener for Knative
    Services; any other URL unchanged.
    """
    local_url = to_local_url(url, addresses)
    if local_url != url:
        return local_url, ""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if parse_host(authority, CLUSTER, inside=True) and authority.partition(":")[0].endswith(f".{CLUSTER}"):
        return f"{scheme}://{listener_address}{slash}{path}", authority
    return url, ""


def _split_tag(label: str) -> Iterable[tuple[str, str]]:
    yield label, ""
    parts = label.split("-")
    for index in range(1, len(parts)):
        yield "-".join(parts[index:]), "-".join(parts[:index])


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
