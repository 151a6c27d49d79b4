"""The extension attributes that Knative's brokers set: arrival time, time to live, and a dead letter's error. Pure."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from local.broker.cloudevent import CloudEvent, CloudEventError, Value

ARRIVAL_TIME = "knativearrivaltime"
TTL = "knativebrokerttl"
DEFAULT_TTL = 255

ERROR_DESTINATION = "knativeerrordest"
ERROR_CODE = "knativeerrorcode"
ERROR_DATA = "knativeerrordata"
ERROR_DATA_LENGTH = 1024


class TtlExhaustedError(CloudEventError):
    """The event has been through the broker too often: most likely a loop of replies."""


def stamp_arrival(event: CloudEvent, now: datetime) -> CloudEvent:
    """The event as the broker stores it: with its arrival time, and its time to live reduced by one (255 if unset).

    TtlExhaustedError when the time to live reaches zero. An unreadable time to live counts as unset.
    """
    stated = event.text(TTL)
    ttl = DEFAULT_TTL if stated is None or not _is_integer(stated) else int(stated) - 1
    if ttl <= 0:
        raise TtlExhaustedError(f"{TTL}: is used up; the event has been through this broker too often")
    arrival = now.astimezone(UTC).isoformat().replace("+00:00", "Z")
    stamps: dict[str, Value] = {ARRIVAL_TIME: arrival, TTL: min(ttl, DEFAULT_TTL)}
    return event.with_attributes(**stamps)


def stamp_reply(reply: CloudEvent, original: CloudEvent, now: datetime) -> CloudEvent:
    """A reply as the broker stores it: it inherits the time to live of the event it answers, reduced by one."""
    return stamp_arrival(reply.with_attributes(**{TTL: original.text(TTL) or str(DEFAULT_TTL)}), now)


def error_extensions(destination: str, status: int | None, body: bytes) -> dict[str, str | int]:
    """A dead letter's extensions: the address it could not be delivered to, the last status, the response's start.

    Without a response the status is 500 and the body is the transport's error, as in Knative.
    """
    return {
        ERROR_DESTINATION: destination,
        ERROR_CODE: 500 if status is None else status,
        ERROR_DATA: base64.b64encode(body[:ERROR_DATA_LENGTH]).decode()[:ERROR_DATA_LENGTH],
    }


def _is_integer(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isascii() and digits.isdigit() and len(digits) < 10
