"""Knative's rules for the events that pass a broker: time to live, replies, error extensions, headers. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from local.broker.cloudevent import CloudEvent, CloudEventError, Value
from local.broker.config import Format
from local.broker.http_binding import Headers, mode_of, read, write_binary, write_structured

ARRIVAL_TIME = "knativearrivaltime"
TTL = "knativebrokerttl"
DEFAULT_TTL = 255

ERROR_DESTINATION = "knativeerrordest"
ERROR_CODE = "knativeerrorcode"
ERROR_DATA = "knativeerrordata"
ERROR_DATA_LENGTH = 1024

# Passed on from request to subscriber and from response to reply: Knative's own list, and the W3C trace context, which
# there travels by OpenTelemetry's propagation.
_PASSED = frozenset({b"x-request-id", b"retry-after", b"traceparent", b"tracestate", b"baggage"})
_PASSED_PREFIXES = (b"knative-", b"x-b3-")
_TRACE = frozenset({"traceparent", "tracestate", "baggage"})


class TtlExhausted(CloudEventError):
    """The event has been through the broker too often: most likely a loop of replies."""


@dataclass(frozen=True, slots=True)
class Reply:
    event: CloudEvent


@dataclass(frozen=True, slots=True)
class NoReply:
    pass


@dataclass(frozen=True, slots=True)
class BadReply:
    """A response that is neither empty nor a CloudEvent: the delivery failed, as if with 502."""

    reason: str


BAD_REPLY_STATUS = 502


def arrived(event: CloudEvent, now: datetime) -> CloudEvent:
    """The event as the broker keeps it: stamped with its arrival, its time to live one less, or 255 when it has none.

    TtlExhausted when nothing of it is left. An unreadable time to live counts as none.
    """
    found = event.text(TTL)
    ttl = DEFAULT_TTL if found is None or not _is_integer(found) else int(found) - 1
    if ttl <= 0:
        raise TtlExhausted(f"{TTL}: is used up; the event has been through this broker too often")
    stamp = now.astimezone(UTC).isoformat().replace("+00:00", "Z")
    stamps: dict[str, Value] = {ARRIVAL_TIME: stamp, TTL: min(ttl, DEFAULT_TTL)}
    return event.having(**stamps)


def reply_arrived(reply: CloudEvent, original: CloudEvent, now: datetime) -> CloudEvent:
    """A reply as the broker keeps it: it inherits the time to live of the event that it answers, less one."""
    return arrived(reply.having(**{TTL: original.text(TTL) or str(DEFAULT_TTL)}), now)


def reply_in(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Reply | NoReply | BadReply:
    """What a successful response holds."""
    pairs = list(headers)
    if mode_of(pairs) == "unknown":
        return BadReply("a non-empty response that is no CloudEvent") if body else NoReply()
    try:
        events = read(pairs, body)
    except CloudEventError as error:
        return BadReply(f"a malformed CloudEvent: {error}")
    if len(events) != 1:
        return BadReply(f"a batch of {len(events)} events, where a reply is one")
    return Reply(events[0])


def error_extensions(destination: str, status: int | None, body: bytes) -> dict[str, str | int]:
    """The dead letter's extensions: where it could not be delivered, the last status and the response's start.

    Without a response the status is 500 and the body the transport's error, as in Knative.
    """
    return {
        ERROR_DESTINATION: destination,
        ERROR_CODE: 500 if status is None else status,
        ERROR_DATA: base64.b64encode(body[:ERROR_DATA_LENGTH]).decode()[:ERROR_DATA_LENGTH],
    }


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers that go along with an event."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }


def reply_headers(response: Iterable[tuple[bytes, bytes]], request: dict[str, str]) -> dict[str, str]:
    """The headers that go along with a reply: the response's own; the trace of the request where it names none."""
    trace = {name: value for name, value in request.items() if name in _TRACE}
    own = passed_on(response)
    own.pop("retry-after", None)
    return own if "traceparent" in own else trace | own


def to_subscriber(event: CloudEvent, form: Format, passed: dict[str, str], namespace: str) -> tuple[Headers, bytes]:
    """The request for a subscriber: without the time to live, which is the broker's own business."""
    headers, body = write_structured(event.without(TTL)) if form == "json" else write_binary(event.without(TTL))
    return [*headers, *passed.items(), ("prefer", "reply"), ("kn-namespace", namespace)], body


def to_sink(
    event: CloudEvent, errors: dict[str, str | int], passed: dict[str, str], namespace: str
) -> tuple[Headers, bytes]:
    """The request for a dead letter sink."""
    headers, body = write_binary(event.having(**errors))
    return [*headers, *passed.items(), ("kn-namespace", namespace)], body


def _is_integer(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isascii() and digits.isdigit() and len(digits) < 10
