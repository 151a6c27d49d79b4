"""Checks an object against a structural description: unknown fields are listed and pruned, wrong types named.

By hand: jsonschema reports what is wrong, but does not prune.
"""

from __future__ import annotations

from typing import Any

from local.kube.schemas import Schema

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def prune(value: Any, schema: Schema) -> list[str]:
    """Removes unknown fields from `value` in place; their paths."""
    unknown: list[str] = []
    _prune(value, schema, "", unknown)
    return unknown


def type_errors(value: Any, schema: Schema, path: str = "", *, complete: bool = True) -> list[tuple[str, str]]:
    """(path, message) of each value of the wrong type and, of a `complete` object, each required field it lacks."""
    if value is None:  # an absent field, written out
        return []
    kind: str | None = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return [(path, f"Invalid value: {_shown(value)}: must be a number or a string")]
        return []
    if kind is None:
        return []
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        text = f'Invalid value: "{_name(value)}": {path or "body"} in body must be of type {kind}: {_shown(value)}'
        return [(path, text)]
    errors: list[tuple[str, str]] = []
    if isinstance(value, list):
        for index, item in enumerate(value):
            errors += type_errors(item, schema["items"], f"{path}[{index}]", complete=complete)
    elif isinstance(value, dict):
        errors += [
            (_join(path, name), "Required value")
            for name in schema.get("required", ())
            if complete and value.get(name) is None
        ]
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if inner:
                errors += type_errors(item, inner, _join(path, name), complete=complete)
    return errors


def _prune(value: Any, schema: Schema, path: str, unknown: list[str]) -> None:
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            _prune(item, schema["items"], f"{path}[{index}]", unknown)
    if not isinstance(value, dict) or schema.get("type") != "object":
        return
    properties, rest = schema.get("properties"), schema.get("additionalProperties")
    for name in list(value):
        inner = (properties or {}).get(name) or rest
        if inner is None:
            unknown.append(_join(path, name))
            del value[name]
        else:
            _prune(value[name], inner, _join(path, name), unknown)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _name(value: Any) -> str:
    for name, types in _TYPES.items():
        if type(value) in types:
            return name
    return "null"


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 100 else text[:97] + "…"
