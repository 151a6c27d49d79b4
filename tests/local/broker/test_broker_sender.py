"""Where a request is sent."""

from __future__ import annotations

from local.broker.sender import connect_target


def test_routes() -> None:
    rules = (("svc.cluster.local", "127.0.0.1:8080"),)
    assert connect_target("http://a.b.svc.cluster.local/x?y=1", rules) == (
        "http://127.0.0.1:8080/x?y=1",
        "a.b.svc.cluster.local",
    )
    assert connect_target("http://notsvc.cluster.local/", rules) == ("http://notsvc.cluster.local/", None)
