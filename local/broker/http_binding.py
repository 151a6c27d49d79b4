"""The CloudEvents HTTP protocol binding 1.0.2, for requests and responses alike.

Incoming headers are (name, value) pairs of bytes with lower-case names, as in ASGI; outgoing ones are pairs of strings.

Written by hand, as the event is (cloudevent.py): the `cloudevents` package does not percent-decode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from local.broker.cloudevent import CloudEvent, CloudEventError, Value, canonical, validated
from local.broker.json_format import charset, read_batch, read_event, write_event

Headers = list[tuple[str, str]]
Mode = Literal["binary", "structured", "batched", "unknown"]

STRUCTURED = "application/cloudevents"
STRUCTURED_JSON = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch"
BATCHED_JSON = "application/cloudevents-batch+json"

# Printable ASCII without space, double quote and percent (section 3.1.3.2).
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PLAIN = re.compile(r"[!#$&-~]*")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


def content_mode(headers: Iterable[tuple[bytes, bytes]]) -> Mode:
    """The content mode (section 3); unknown if neither the media type nor ce-specversion indicates an event."""
    content_type, binary = "", False
    for name, value in headers:
        if name == b"content-type":
            content_type = value.decode("latin-1").strip().lower()
        elif name == b"ce-specversion":
            binary = True
    if content_type.startswith(BATCHED):
        return "batched"
    if content_type.startswith(STRUCTURED):
        return "structured"
    return "binary" if binary else "unknown"


def read_events(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> list[CloudEvent]:
    """The message's events: one, or any number in a batch; CloudEventError if any is invalid."""
    pairs = list(headers)
    mode = content_mode(pairs)
    if mode in ("binary", "unknown"):
        return [_read_binary(pairs, body)]
    content_type = next(value for name, value in pairs if name == b"content-type").decode("latin-1").strip()
    media_type = content_type.partition(";")[0].strip().lower()
    if mode == "batched" and media_type == BATCHED_JSON:
        return read_batch(body, charset(content_type))
    if mode == "structured" and media_type == STRUCTURED_JSON:
        return [read_event(body, charset(content_type))]
    raise CloudEventError(
        f"content-type: {media_type!a} is not supported; send {STRUCTURED_JSON}, {BATCHED_JSON} or binary mode"
    )


def write_binary(event: CloudEvent) -> tuple[Headers, bytes]:
    """Headers and body of the event in binary mode."""
    headers: Headers = []
    for name, value in event.attributes.items():
        if name == "datacontenttype":
            headers.append(("content-type", canonical(value)))
        else:
            headers.append((f"ce-{name}", encode_value(canonical(value))))
    return headers, event.data or b""


def write_structured(event: CloudEvent) -> tuple[Headers, bytes]:
    """Headers and body of the event in structured mode, in the JSON format."""
    return [("content-type", f"{STRUCTURED_JSON}; charset=utf-8")], write_event(event)


def encode_value(text: str) -> str:
    """A header's value: percent-encoded UTF-8 where section 3.1.3.2 requires it."""
    return text if _PLAIN.fullmatch(text) else quote(text, safe=_SAFE)


def decode_value(value: bytes) -> str:
    """An attribute from a header's value: unquoted, then percent-decoded once; CloudEventError for invalid UTF-8.

    Only a value that is a quoted string from end to end is unquoted: senders that do not encode put JSON into headers
    unchanged, and removing its quotes would break it. A percent sign without two digits is kept.
    """
    if (quoted := _QUOTED.fullmatch(value)) is not None:
        value = _ESCAPE.sub(rb"\1", quoted[1])
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise CloudEventError(f"the header value {value[:40]!a} is not UTF-8 after percent-decoding") from None


def _read_binary(headers: list[tuple[bytes, bytes]], body: bytes) -> CloudEvent:
    attributes: dict[str, Value] = {}
    for header, value in headers:
        if header == b"content-type":
            name, text = "datacontenttype", value.decode("latin-1").strip()
        elif header.startswith(b"ce-"):
            name = header[3:].decode("latin-1")
            if name == "datacontenttype":
                raise CloudEventError("ce-datacontenttype: must not be sent; Content-Type is the data's type")
            try:
                text = decode_value(value)
            except CloudEventError as error:
                raise CloudEventError(f"ce-{name}: {error}") from None
        else:
            continue
        if name in attributes:
            raise CloudEventError(f"{header.decode('latin-1')}: appears twice")
        attributes[name] = text
    missing = [name for name in ("specversion", "id", "source", "type") if name not in attributes]
    if missing:
        names = ", ".join(f"ce-{name}" for name in missing)
        raise CloudEventError(f"not a CloudEvent: the header {names} is missing and Content-Type is not {STRUCTURED}")
    return validated(attributes, body or None)
