"""Fields of a request's body, checked: what is not of its type or out of its bounds is refused as INVALID_ARGUMENT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.pipelines.errors import invalid_argument

MAX_NAME = 128
MAX_DESCRIPTION = 4096


def name_field(body: Mapping[str, Any], field: str) -> str:
    """A display name: required, at most MAX_NAME characters, no control characters."""
    value = text_field(body, field, MAX_NAME)
    if not value.strip() or not value.isprintable():
        raise invalid_argument(f"{field} must be a name, found {value[:40]!r}")
    return value


def text_field(body: Mapping[str, Any], field: str, limit: int) -> str:
    """A string of at most `limit` characters, "" where it is absent."""
    value = body.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limit or "\0" in value or not _encodes(value):
        raise invalid_argument(f"{field} must be a string of at most {limit} characters")
    return value


def int_field(body: Mapping[str, Any], field: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`; protocol buffers' JSON writes 64-bit ones as strings."""
    value = body.get(field)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise invalid_argument(f"{field} must be a whole number from {low} to {high}, found {str(value)[:40]!r}")
    return value


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
