"""CloudEvents as the functions see them: reading one event from an HTTP request. Their types: common/event_types.py.

The SDK tells binary mode from structured mode and reads both. It does not percent-decode header values (HTTP protocol
binding 1.0.2, section 3.1.3.2), so that is done here before it sees them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from cloudevents.exceptions import GenericException
from cloudevents.http import from_http

MAX_BYTES = 800
"""Of a source, id or type. Together they are a database key, which PostgreSQL limits to 2.7 kB per entry."""

_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class BadEventError(ValueError):
    """The event can never be used, however often it is sent; the message is one line and says what was found."""


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvent 1.0. `extensions` are its other attributes, as strings; `data` its payload's bytes."""

    id: str
    source: str
    type: str
    time: str | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""

    @property
    def attributes(self) -> dict[str, str]:
        """Every context attribute that the event has, as a string."""
        named = {
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time,
            "subject": self.subject,
            "datacontenttype": self.datacontenttype,
        }
        return {**{name: value for name, value in named.items() if value is not None}, **self.extensions}


def read_event(headers: Iterable[tuple[str, str]], body: bytes) -> Event:
    """The request's event, in binary or structured mode. `headers` as WSGI gives them: bytes read as Latin-1.

    Raises BadEventError when it holds no event.
    """
    plain = {
        name.lower(): decode_value(name.lower(), value) if name.lower().startswith("ce-") else value
        for name, value in headers
    }
    structured = plain.get("content-type", "").lower().startswith("application/cloudevents")
    if structured and "batch" in plain["content-type"].lower():
        raise BadEventError("batched CloudEvents are not supported; send one event per request")
    if "ce-specversion" not in plain and not structured:
        raise BadEventError(
            "not a CloudEvent: there is neither ce-specversion nor Content-Type application/cloudevents"
        )
    missing = [name for name in ("ce-id", "ce-source", "ce-type") if not plain.get(name)]
    if missing and not structured:
        raise BadEventError(f"not a CloudEvent: the header {', '.join(missing)} is missing or empty")
    try:
        cloud_event = from_http(plain, body, data_unmarshaller=lambda data: data)
    except (GenericException, ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadEventError(f"not a CloudEvent: {str(error)[:200]}") from None
    data = cloud_event.get_data()
    attributes = {str(name): _text(str(name), value) for name, value in cloud_event.get_attributes().items()}
    if (version := attributes.pop("specversion", None)) != "1.0":
        raise BadEventError(f"specversion: must be 1.0, found {version!r}"[:200])
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            raise BadEventError(f"{name}: must not be empty")
    payload = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data or b""
    return Event(
        id=attributes.pop("id"),
        source=attributes.pop("source"),
        type=attributes.pop("type"),
        time=attributes.pop("time", None),
        subject=attributes.pop("subject", None),
        datacontenttype=attributes.pop("datacontenttype", None),
        extensions=attributes,
        data=payload,
    )


def check_key(event: Event) -> None:
    """BadEventError when (source, id, type) is too long for the key of a row."""
    for name, value in (("source", event.source), ("id", event.id), ("type", event.type)):
        if len(value.encode()) > MAX_BYTES:
            raise BadEventError(f"{name}: must have at most {MAX_BYTES} bytes, found {len(value.encode())}")


def decode_value(name: str, value: str) -> str:
    """A header's value as an attribute: unquoted where all of it is quoted, then percent-decoded once."""
    raw = value.encode("latin-1")
    if (quoted := _QUOTED.fullmatch(raw)) is not None:
        raw = _ESCAPE.sub(rb"\1", quoted[1])
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise BadEventError(f"{name}: is not UTF-8 after percent-decoding") from None


def parse_json(data: bytes | str, what: str = "the data") -> Any:
    """Strict JSON: no NaN or Infinity, which databases store differently. Raises BadEventError."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadEventError(f"{what} is not JSON: {str(error)[:120]}") from None


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int):
        raise BadEventError(f"{name}: must be a string, a whole number or true or false")
    if _CONTROL.search(text := str(value)):
        raise BadEventError(f"{name}: holds a control character")
    return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
