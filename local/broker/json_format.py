"""The CloudEvents JSON format 1.0.2: one event, or a batch, from and to JSON text.

`data` is kept byte for byte: the member's own text is the payload, so numbers, key order and escapes survive. That is
why the members are scanned here, with the standard library's decoder: parsing and writing `data` would change it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NoReturn

from local.broker.cloudevent import CloudEvent, CloudEventError, Value, validated

_SPACE = re.compile(r"[ \t\r\n]*")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\";\s]+)", re.IGNORECASE)
_TEXTUAL = re.compile(r"(?:text/.*|.*/xml|.*\+xml|application/x-www-form-urlencoded)", re.IGNORECASE)


def charset(media_type: str, default: str = "utf-8") -> str:
    match = _CHARSET.search(media_type)
    return match[1] if match else default


def is_json(media_type: str) -> bool:
    """Whether a media type declares JSON: its subtype is `json` or ends in `+json` (section 3.1.1)."""
    subtype = media_type.partition(";")[0].strip().lower().partition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def read_event(body: bytes, encoding: str = "utf-8") -> CloudEvent:
    """One event from a JSON object; CloudEventError if it is not one."""
    text = _decode(body, encoding)
    event, end = _read_object(text, _skip(text, 0))
    _expect_end(text, end)
    return event


def read_batch(body: bytes, encoding: str = "utf-8") -> list[CloudEvent]:
    """The events of a JSON array (section 4), which may be empty; the error gives the index of an invalid one."""
    text = _decode(body, encoding)
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise CloudEventError("the batch must be a JSON array")
    events: list[CloudEvent] = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        _expect_end(text, at + 1)
        return events
    while True:
        try:
            event, at = _read_object(text, at)
        except CloudEventError as error:
            raise CloudEventError(f"event {len(events)}: {error}") from None
        events.append(event)
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            _expect_end(text, at + 1)
            return events
        if text[at : at + 1] != ",":
            raise CloudEventError(f"the batch is not JSON: expected , or ] at character {at}")
        at = _skip(text, at + 1)


def write_event(event: CloudEvent) -> bytes:
    """The event as a JSON object: JSON payloads unchanged, text as a string, other bytes in base64."""
    head = json.dumps(dict(event.attributes), ensure_ascii=False, separators=(",", ":"))
    if event.data is None:
        return head.encode()
    return f"{head[:-1]},{_data_member(event.data, event.datacontenttype)}}}".encode()


def _data_member(data: bytes, media_type: str | None) -> str:
    if media_type is not None:
        try:
            text = data.decode(charset(media_type))
            if is_json(media_type):
                json.loads(text, parse_constant=_no_constant)
                return f'"data":{text}'
            if _TEXTUAL.match(media_type.partition(";")[0].strip()):
                return f'"data":{json.dumps(text, ensure_ascii=False)}'
        except (ValueError, LookupError, RecursionError):
            pass  # not what its type claims: base64 carries it unchanged
    return f'"data_base64":"{base64.b64encode(data).decode()}"'


def _read_object(text: str, at: int) -> tuple[CloudEvent, int]:
    members, end = _members(text, at)
    attributes: dict[str, Value] = {}
    for name, (value, _) in members.items():
        if name not in ("data", "data_base64") and value is not None:
            if isinstance(value, float):
                raise CloudEventError(f"{name}: must be an integer, found {value}")
            attributes[name] = value
    return validated(attributes, _payload(members, attributes)), end


def _payload(members: dict[str, tuple[Any, str]], attributes: dict[str, Value]) -> bytes | None:
    """The payload's bytes; sets the implied datacontenttype (section 3.1.2)."""
    encoded, _ = members.get("data_base64", (None, ""))
    if encoded is not None:
        if "data" in members:
            raise CloudEventError("data and data_base64 exclude each other; send one of them")
        if not isinstance(encoded, str):
            raise CloudEventError("data_base64: must be a string")
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise CloudEventError("data_base64: is not base64 (RFC 4648)") from None
    if "data" not in members:
        return None
    value, raw = members["data"]
    media_type = str(attributes.setdefault("datacontenttype", "application/json"))
    if is_json(media_type):
        # Always UTF-8, the encoding of JSON exchanged between systems (RFC 8259, section 8.1).
        return _encode(raw, "utf-8")
    if value is None:
        return None
    if not isinstance(value, str):
        raise CloudEventError(f"data: must be a string, because datacontenttype {media_type} is not JSON")
    return _encode(value, charset(media_type))


def _members(text: str, at: int) -> tuple[dict[str, tuple[Any, str]], int]:
    """A JSON object's members, each as its value and its source text, and where the object ends."""
    if text[at : at + 1] != "{":
        raise CloudEventError("a structured event must be a JSON object")
    members: dict[str, tuple[Any, str]] = {}
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return members, at + 1
    while True:
        name, at = _value(text, at)
        at = _skip(text, at)
        if not isinstance(name, str) or text[at : at + 1] != ":":
            raise CloudEventError(f"the event is not JSON: expected a member at character {at}")
        start = _skip(text, at + 1)
        value, at = _value(text, start)
        if name in members:
            raise CloudEventError(f"{name}: appears twice")
        members[name] = (value, text[start:at])
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return members, at + 1
        if text[at : at + 1] != ",":
            raise CloudEventError(f"the event is not JSON: expected , or }} at character {at}")
        at = _skip(text, at + 1)


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        raise CloudEventError("the event is nested too deeply") from None
    except ValueError as error:
        raise CloudEventError(f"the event is not JSON: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise CloudEventError(f"the body continues after the JSON value's end at character {at}")


def _decode(body: bytes, encoding: str) -> str:
    try:
        return body.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        raise CloudEventError(f"the body is not text in {encoding[:40]}") from None


def _encode(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        raise CloudEventError(f"data: cannot be written in {encoding[:40]}") from None
