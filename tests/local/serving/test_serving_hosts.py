"""Names of services in URLs."""

from __future__ import annotations

from typing import Any

import pytest

from local.gateway.control_protocol import Route
from local.gateway.routing import find_service
from local.serving.hosts import names_this_machine, parse_host, parse_path, to_local_url
from local.serving.traffic import (
    TrafficTarget,
)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.b.localhost", ("a", "b")),
        ("a.b.localhost:8080", ("a", "b")),
        ("A.B.svc.cluster.local.", ("a", "b")),
        ("a.b.svc", ("a", "b")),
        ("a.b", ("a", "b")),
        ("a.b.evil.example", None),
        ("127.0.0.1:8080", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_hosts(host: Any, expected: Any) -> None:
    assert parse_host(host, "localhost:8080") == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("m", (("d", "m-predictor"), "")),
        ("m-predictor", (("d", "m-predictor"), "")),
        ("prev-m", (("d", "m-predictor"), "prev")),
        ("latest-m-predictor", None),
        ("prev-f", None),
        ("f", (("d", "f"), "")),
    ],
)
def test_routes_are_found_by_name_and_tag(label: Any, expected: Any) -> None:
    routes = {("d", "m-predictor"): Route((TrafficTarget("m-1", 100, "prev"),)), ("d", "f"): Route()}
    assert find_service(routes, label, "d") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://a.b.svc/x?y", "http://127.0.0.1:9/x?y"),
        ("http://a.b.svc:80/", "http://127.0.0.1:9/"),
        ("postgresql://u:p@db.b.svc:5432/x", "postgresql://u:p@127.0.0.1:8/x"),
        ("http://a.b.svc:81/", "http://a.b.svc:81/"),
        ("a.b.svc", "a.b.svc"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_cluster_addresses(value: Any, expected: Any) -> None:
    assert to_local_url(value, {"a.b.svc": "127.0.0.1:9", "db.b.svc:5432": "127.0.0.1:8"}) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8080", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("a.b.localhost:80", False),
        ("evil.test", False),
    ],
)
def test_a_host_without_a_name(host: Any, expected: Any) -> None:
    assert names_this_machine(host) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/-/services/ns/rollout/mlflow?a=1", (("rollout", "ns"), "/mlflow?a=1")),
        ("/-/services/ns/rollout", (("rollout", "ns"), "/")),
        ("/-/services/ns/rollout?a=1", (("rollout", "ns"), "/?a=1")),
        ("/-/services/ns/rollout/", (("rollout", "ns"), "/")),
        ("/-/services/ns", None),
        ("/-/services//x", None),
        ("/v1/models", None),
    ],
)
def test_a_service_in_the_path(path: Any, expected: Any) -> None:
    assert parse_path(path) == expected
