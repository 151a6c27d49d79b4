"""The headers that the broker forwards."""

from __future__ import annotations

from local.broker.delivery_requests import forwarded_headers, reply_headers


def test_headers_that_pass() -> None:
    headers = [(b"traceparent", b"00-1"), (b"x-request-id", b"r"), (b"knative-x", b"k"), (b"authorization", b"secret")]
    assert forwarded_headers(headers) == {"traceparent": "00-1", "x-request-id": "r", "knative-x": "k"}
    assert reply_headers(
        [(b"x-b3-traceid", b"1"), (b"retry-after", b"1")], {"traceparent": "a", "x-request-id": "r"}
    ) == {
        "traceparent": "a",
        "x-b3-traceid": "1",
    }
    assert reply_headers([(b"traceparent", b"b")], {"traceparent": "a", "tracestate": "s"}) == {"traceparent": "b"}
