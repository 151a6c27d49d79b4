"""A CloudEvent (specification 1.0.2) as a plain immutable value, and what makes one valid.

Pure data: nothing here knows about HTTP, SQL or Knative. Hand-written although there is the `cloudevents` package: its
1.x accepts any attribute, does not percent-decode, and re-serialises payloads that must pass byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from common.rfc3339 import is_date_time

Value = str | int | bool

SPECVERSION = "1.0"
REQUIRED = ("specversion", "id", "source", "type")

MIN_INTEGER, MAX_INTEGER = -(2**31), 2**31 - 1

_NAME = re.compile(r"[a-z0-9]+")
# Characters that RFC 3986 allows in a URI reference.
_URI = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}\s*(?:;[\t -~]*)?")
# The String type excludes control characters, surrogates and noncharacters (specification, Type System).
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)


class CloudEventError(ValueError):
    """What was received is not a valid CloudEvent; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """Context attributes by name, including extensions, and the payload's bytes (None: there is no payload).

    The constructor trusts its arguments; events from outside go through `validated`.
    """

    attributes: Mapping[str, Value]
    data: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    @property
    def id(self) -> str:
        return str(self.attributes["id"])

    @property
    def source(self) -> str:
        return str(self.attributes["source"])

    @property
    def type(self) -> str:
        return str(self.attributes["type"])

    @property
    def datacontenttype(self) -> str | None:
        value = self.attributes.get("datacontenttype")
        return None if value is None else str(value)

    def text(self, name: str) -> str | None:
        """An attribute's canonical string representation; None when the event has no such attribute."""
        value = self.attributes.get(name)
        return None if value is None else canonical(value)

    def with_attributes(self, **attributes: Value) -> CloudEvent:
        """The same event with these attributes added or replaced."""
        return CloudEvent({**self.attributes, **attributes}, self.data)

    def without_attributes(self, *names: str) -> CloudEvent:
        return CloudEvent({name: value for name, value in self.attributes.items() if name not in names}, self.data)


def canonical(value: Value) -> str:
    """The string form that the type system defines: true/false, decimal digits, or the string itself."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def validated(attributes: Mapping[str, Value], data: bytes | None = None) -> CloudEvent:
    """The event, if its attributes conform to the specification; otherwise CloudEventError naming the attribute."""
    for name in REQUIRED:
        if name not in attributes:
            raise CloudEventError(f"{name}: is required and missing")
    if attributes["specversion"] != SPECVERSION:
        raise CloudEventError(f"specversion: must be {SPECVERSION}, found {_shown(attributes['specversion'])}")
    for name, value in attributes.items():
        _check_name(name)
        _check_value(name, value)
    for name in ("id", "source", "type", "datacontenttype", "dataschema", "subject", "time"):
        if name in attributes:
            value = attributes[name]
            if not isinstance(value, str):
                raise CloudEventError(f"{name}: must be a string, found {_shown(value)}")
            if not value:
                raise CloudEventError(f"{name}: must not be empty")
    _check_formats({name: str(value) for name, value in attributes.items()})
    return CloudEvent(attributes, data)


def _check_formats(texts: Mapping[str, str]) -> None:
    if not _URI.fullmatch(texts["source"]):
        raise CloudEventError(f"source: must be a URI reference (RFC 3986), found {_shown(texts['source'])}")
    if (schema := texts.get("dataschema")) is not None and not (_URI.fullmatch(schema) and _SCHEME.match(schema)):
        raise CloudEventError(f"dataschema: must be an absolute URI (RFC 3986), found {_shown(schema)}")
    if (time := texts.get("time")) is not None and not is_date_time(time):
        raise CloudEventError(f"time: must be a timestamp such as 2018-04-05T17:31:00Z, found {_shown(time)}")
    if (kind := texts.get("datacontenttype")) is not None and not _MEDIA_TYPE.fullmatch(kind):
        raise CloudEventError(f"datacontenttype: must be a media type such as application/json, found {_shown(kind)}")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise CloudEventError(f"{_shown(name)}: an attribute's name may only contain a-z and 0-9")
    if name == "data":
        raise CloudEventError("data: is the payload and cannot be an attribute")


def _check_value(name: str, value: Value) -> None:
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise CloudEventError(f"{name}: must be a 32-bit integer, found {value}")
    elif not isinstance(value, str):
        raise CloudEventError(f"{name}: must be a string, an integer or a boolean, found {_shown(value)}")
    elif match := _FORBIDDEN.search(value):
        raise CloudEventError(f"{name}: contains the character U+{ord(match[0]):04X}, which is not allowed")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
