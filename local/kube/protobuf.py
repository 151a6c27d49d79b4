"""Kubernetes' protobuf bodies, which `kubectl create secret|configmap|namespace|serviceaccount` send and nothing else.

Field numbers are those of k8s.io/api/core/v1 and k8s.io/apimachinery/pkg/apis/meta/v1, `generated.proto`. A field that
is not listed is refused, not lost.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from local.kube.errors import unsupported_media_type

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# number: (name, form); a form in brackets is repeated, in braces a map of text to it, a dict a message.
_META: dict[int, tuple[str, Any]] = {
    1: ("name", "text"),
    2: ("generateName", "text"),
    3: ("namespace", "text"),
    4: ("selfLink", "text"),
    5: ("uid", "text"),
    6: ("resourceVersion", "text"),
    7: ("generation", "whole"),
    8: ("creationTimestamp", "unset"),
    11: ("labels", {"text"}),
    12: ("annotations", {"text"}),
    14: ("finalizers", ["text"]),
}
_REFERENCE = {1: ("name", "text")}
_OBJECT_REFERENCE = {
    1: ("kind", "text"),
    2: ("namespace", "text"),
    3: ("name", "text"),
    4: ("uid", "text"),
    5: ("apiVersion", "text"),
}
_MESSAGES: dict[str, dict[int, tuple[str, Any]]] = {
    "Namespace": {1: ("metadata", _META), 2: ("spec", "unset"), 3: ("status", "unset")},
    "ConfigMap": {
        1: ("metadata", _META),
        2: ("data", {"text"}),
        3: ("binaryData", {"bytes"}),
        4: ("immutable", "flag"),
    },
    "Secret": {
        1: ("metadata", _META),
        2: ("data", {"bytes"}),
        3: ("type", "text"),
        4: ("stringData", {"text"}),
        5: ("immutable", "flag"),
    },
    "ServiceAccount": {
        1: ("metadata", _META),
        2: ("secrets", [_OBJECT_REFERENCE]),
        3: ("imagePullSecrets", [_REFERENCE]),
        4: ("automountServiceAccountToken", "flag"),
    },
}
_ENVELOPE = {1: ("type", {1: ("apiVersion", "text"), 2: ("kind", "text")}), 2: ("raw", "raw")}


def decode(body: bytes) -> dict[str, Any]:
    """The object as JSON would have it; ApiError 415 when it is one of the kinds or fields that are not known here."""
    try:
        if not body.startswith(_MAGIC):
            raise ValueError("no Kubernetes envelope")
        envelope = _message(body[len(_MAGIC) :], _ENVELOPE, strict=False)
        kind = envelope["type"]
        return {**kind, **_message(envelope["raw"], _MESSAGES[kind["kind"]])}
    except (KeyError, ValueError, IndexError):
        raise unsupported_media_type(("application/json", "application/yaml")) from None


def _message(data: bytes, fields: dict[int, tuple[str, Any]], *, strict: bool = True) -> dict[str, Any]:
    item: dict[str, Any] = {}
    for number, value in _wire_fields(data):
        if number not in fields:
            if strict:
                raise ValueError(f"field {number} is not known")
            continue
        name, form = fields[number]
        if isinstance(form, set):
            entry = dict(_wire_fields(value))
            item.setdefault(name, {})[entry.get(1, b"").decode()] = _value(entry.get(2, b""), next(iter(form)))
        elif isinstance(form, list):
            item.setdefault(name, []).append(_value(value, form[0]))
        elif form != "unset" and (decoded := _value(value, form)) not in ("", {}, 0):
            item[name] = decoded
    return item


def _value(value: Any, form: Any) -> Any:
    if isinstance(form, dict):
        return _message(value, form)
    match form:
        case "text":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "flag":
            return bool(value)
    return value


def _wire_fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of varints and length-delimited fields, the only two that these messages use."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value, at = _varint(data, at)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2 and at + value <= len(data):
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            raise ValueError(f"cut short, or wire type {tag & 7}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        result |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return result, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
