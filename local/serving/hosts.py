"""Names of services in URLs: `[tag-]name.namespace.<domain>`, and back.

Not every resolver knows names under `localhost` (Python's does not on all systems), so a request to 127.0.0.1 may name
the service in its path instead, which a cluster's ingress does not support.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

CLUSTER = "svc.cluster.local"
PREDICTOR = "-predictor"


def external_url(domain: str, namespace: str, name: str, tag: str = "") -> str:
    """The URL of a service, or of one of its tags, from outside. `domain` may include a port."""
    return f"http://{tag + '-' if tag else ''}{name}.{namespace}.{domain}"


def internal_url(namespace: str, name: str) -> str:
    """The URL of a service inside the cluster."""
    return f"http://{name}.{namespace}.{CLUSTER}"


def parse_host(host: str, domain: str, *, inside: bool = True) -> tuple[str, str] | None:
    """(name with its tag, namespace) of a Host header, None if it is not one of ours.

    A name in a foreign domain is rejected, so that a web page cannot reach workloads by rebinding its own name. The
    short names `name.namespace` and `name.namespace.svc` are only known `inside`: somebody may own that domain.
    """
    bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and ":" in host else host
    bare = bare.lower().rstrip(".")
    for suffix in (domain.partition(":")[0].lower(), CLUSTER, *(("svc",) if inside else ())):
        labels = bare.removesuffix(f".{suffix}").split(".")
        if bare.endswith(f".{suffix}") and len(labels) == 2 and all(labels):
            return labels[0], labels[1]
    labels = bare.split(".")
    return (labels[0], labels[1]) if inside and len(labels) == 2 and all(labels) else None


def names_this_machine(host: str) -> bool:
    """Whether a Host header names this machine, not a service: some clients cannot resolve names under `localhost`."""
    try:
        bare = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return bare in ("localhost", "127.0.0.1", "::1")


def parse_path(path: str) -> tuple[tuple[str, str], str] | None:
    """((name with its tag, namespace), the rest) of `/-/services/<namespace>/<name>/…`, None for any other path."""
    parts = path.split("/", 5)
    if len(parts) < 5 or parts[:3] != ["", "-", "services"] or not parts[3] or not parts[4].partition("?")[0]:
        return None
    name, mark, query = parts[4].partition("?")
    return (name, parts[3]), "/" + (parts[5] if len(parts) > 5 else mark + query)


def to_local_url(value: str, addresses: Mapping[str, str]) -> str:
    """A URL with its cluster host replaced by that host's address on this machine; any other string unchanged."""
    if "://" not in value:
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return value
    host = parts.netloc.rpartition("@")[2]
    address = addresses.get(host) or addresses.get(host.removesuffix(":80"))
    if not address:
        return value
    return urlunsplit(parts._replace(netloc=parts.netloc.removesuffix(host) + address))
