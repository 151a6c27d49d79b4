"""The requests that the broker sends to subscribers and dead letter sinks, and the headers it forwards. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from local.broker.cloudevent import CloudEvent
from local.broker.extensions import TTL
from local.broker.http_binding import Headers, write_binary, write_structured
from local.broker.resources import Format

# Forwarded from the request to the subscriber and from the response to the reply: Knative's own list, and the W3C trace
# context, which Knative forwards with OpenTelemetry's propagators.
_FORWARDED = frozenset({b"x-request-id", b"retry-after", b"traceparent", b"tracestate", b"baggage"})
_FORWARDED_PREFIXES = (b"knative-", b"x-b3-")
_TRACE = frozenset({"traceparent", "tracestate", "baggage"})


def subscriber_request(
    event: CloudEvent, form: Format, forwarded: dict[str, str], namespace: str
) -> tuple[Headers, bytes]:
    """The request to a subscriber. It carries no time to live: that is between the broker and itself."""
    event = event.without_attributes(TTL)
    headers, body = write_structured(event) if form == "json" else write_binary(event)
    return [*headers, *forwarded.items(), ("prefer", "reply"), ("kn-namespace", namespace)], body


def dead_letter_request(
    event: CloudEvent, errors: dict[str, str | int], forwarded: dict[str, str], namespace: str
) -> tuple[Headers, bytes]:
    """The request to a dead letter sink."""
    headers, body = write_binary(event.with_attributes(**errors))
    return [*headers, *forwarded.items(), ("kn-namespace", namespace)], body


def forwarded_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers that travel with an event."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name in _FORWARDED or name.startswith(_FORWARDED_PREFIXES)
    }


def reply_headers(response: Iterable[tuple[bytes, bytes]], request: dict[str, str]) -> dict[str, str]:
    """The headers that travel with a reply: the response's own, with the request's trace if it states none."""
    trace = {name: value for name, value in request.items() if name in _TRACE}
    own = forwarded_headers(response)
    own.pop("retry-after", None)
    return own if "traceparent" in own else trace | own
