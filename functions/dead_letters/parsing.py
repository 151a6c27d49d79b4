"""A dead letter from the event that arrived: the event as sent, and why it was refused. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from functions.events import Event

# The Broker adds these on the way; a replayed event must not carry them.
_ADDED = ("knativeerrordest", "knativeerrorcode", "knativeerrordata", "knativearrivaltime", "knativebrokerttl")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`code` is the HTTP status that `destination` answered last (None: none), `reason` its body, cut at 1 kB."""

    key: str
    source: str
    id: str
    type: str
    destination: str
    code: int | None
    reason: str
    attributes: Mapping[str, str]
    data: bytes


def dead_letter(event: Event) -> DeadLetter:
    """The dead letter of an event; without knativeerror* extensions its destination and reason are empty."""
    destination = event.extensions.get("knativeerrordest", "")
    code = event.extensions.get("knativeerrorcode", "")
    return DeadLetter(
        dead_letter_key(event.source, event.id, event.type, destination),
        event.source,
        event.id,
        event.type,
        destination,
        int(code) if code.isascii() and code.isdigit() and len(code) < 10 else None,
        _reason(event.extensions.get("knativeerrordata", "")),
        {name: value for name, value in event.attributes.items() if name not in _ADDED},
        event.data,
    )


def dead_letter_key(source: str, id: str, type: str, destination: str) -> str:
    return hashlib.sha256(json.dumps([source, id, type, destination]).encode()).hexdigest()


def _reason(data: str) -> str:
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raw = data.encode()
    return raw.decode("utf-8", "replace").replace("\x00", "\ufffd").strip()
