"""What a successful response contains: a reply event, nothing, or something that fails the delivery. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from local.broker.cloudevent import CloudEvent, CloudEventError
from local.broker.http_binding import content_mode, read_events

INVALID_REPLY_STATUS = 502


@dataclass(frozen=True, slots=True)
class Reply:
    event: CloudEvent


@dataclass(frozen=True, slots=True)
class NoReply:
    pass


@dataclass(frozen=True, slots=True)
class InvalidReply:
    """A response that is neither empty nor a CloudEvent: the delivery failed, as if with a 502."""

    reason: str


def parse_reply(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Reply | NoReply | InvalidReply:
    """The reply in a successful response."""
    pairs = list(headers)
    if content_mode(pairs) == "unknown":
        return InvalidReply("a non-empty response that is not a CloudEvent") if body else NoReply()
    try:
        events = read_events(pairs, body)
    except CloudEventError as error:
        return InvalidReply(f"a malformed CloudEvent: {error}")
    if len(events) != 1:
        return InvalidReply(f"a batch of {len(events)} events instead of one reply")
    return Reply(events[0])
