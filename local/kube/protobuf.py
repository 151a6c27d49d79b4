"""Kubernetes' protobuf bodies, which `kubectl create secret|configmap|namespace|serviceaccount` send and nothing else.

Field numbers are those of k8s.io/api/core/v1 and k8s.io/apimachinery/pkg/apis/meta/v1, `generated.proto`. A field that
is not listed is refused, not lost. By hand: no Python package carries those messages (kubernetes, lightkube looked at),
and google.protobuf would need these tables as descriptors besides.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from local.kube.errors import unsupported_media_type

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# number: (name, form); a form in brackets is repeated, in braces a map from strings to it, a dict a message.
_META: dict[int, tuple[str, Any]] = {
    1: ("name", "string"),
    2: ("generateName", "string"),
    3: ("namespace", "string"),
    4: ("selfLink", "string"),
    5: ("uid", "string"),
    6: ("resourceVersion", "string"),
    7: ("generation", "integer"),
    8: ("creationTimestamp", "unset"),
    11: ("labels", {"string"}),
    12: ("annotations", {"string"}),
    14: ("finalizers", ["string"]),
}
_REFERENCE = {1: ("name", "string")}
_OBJECT_REFERENCE = {
    1: ("kind", "string"),
    2: ("namespace", "string"),
    3: ("name", "string"),
    4: ("uid", "string"),
    5: ("apiVersion", "string"),
}
_MESSAGES: dict[str, dict[int, tuple[str, Any]]] = {
    "Namespace": {1: ("metadata", _META), 2: ("spec", "unset"), 3: ("status", "unset")},
    "ConfigMap": {
        1: ("metadata", _META),
        2: ("data", {"string"}),
        3: ("binaryData", {"bytes"}),
        4: ("immutable", "boolean"),
    },
    "Secret": {
        1: ("metadata", _META),
        2: ("data", {"bytes"}),
        3: ("type", "string"),
        4: ("stringData", {"string"}),
        5: ("immutable", "boolean"),
    },
    "ServiceAccount": {
        1: ("metadata", _META),
        2: ("secrets", [_OBJECT_REFERENCE]),
        3: ("imagePullSecrets", [_REFERENCE]),
        4: ("automountServiceAccountToken", "boolean"),
    },
}
_ENVELOPE = {1: ("type", {1: ("apiVersion", "string"), 2: ("kind", "string")}), 2: ("raw", "raw")}


def decode(body: bytes) -> dict[str, Any]:
    """The object as JSON would have it; StatusError 415 for kinds and fields that are not known here."""
    refused = unsupported_media_type(("application/json", "application/yaml"))
    if not body.startswith(_MAGIC):
        raise refused
    try:
        envelope = _message(body[len(_MAGIC) :], _ENVELOPE, strict=False)
        kind = envelope["type"]
        return {**kind, **_message(envelope["raw"], _MESSAGES[kind["kind"]])}
    except (KeyError, ValueError, IndexError):
        raise refused from None


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
        case "string":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "boolean":
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
