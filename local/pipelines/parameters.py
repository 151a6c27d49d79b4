"""A run's parameters against the pipeline's inputs: refused at submission, as Kubeflow Pipelines does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local.pipelines.errors import invalid

_NAMES = {
    "STRING": "a text",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "an object",
}


def check(inputs: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """The parameters to run with, without defaults. `inputs` is `root.inputDefinitions`. ApiError 400 names the
    parameter, what was found and what is wanted.
    """
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise invalid(f"runtime_config.parameters must be an object, found {_show(given)}")
    known: Mapping[str, Any] = inputs.get("parameters", {})
    if unknown := sorted(given.keys() - known.keys()):
        names = ", ".join(known) or "none"
        raise invalid(f"parameter {unknown[0]!r} is not an input of the pipeline; it has: {names}")
    if needed := [name for name, artifact in inputs.get("artifacts", {}).items() if not artifact.get("isOptional")]:
        raise invalid(f"the pipeline takes the artifact {needed[0]!r}, which a run cannot be given")
    for name, wanted in known.items():
        if name in given:
            kind = wanted.get("parameterType", "")
            if not (given[name] is None and wanted.get("isOptional")) and not _suits(kind, given[name]):
                raise invalid(f"parameter {name!r} must be {_NAMES.get(kind, kind)}, found {_show(given[name])}")
            if (allowed := wanted.get("literals")) and given[name] not in allowed:
                raise invalid(f"parameter {name!r} must be one of {_show(allowed)}, found {_show(given[name])}")
        elif "defaultValue" not in wanted and not wanted.get("isOptional"):
            raise invalid(f"parameter {name!r} is missing: it has no default")
    return {name: _exact(known[name].get("parameterType", ""), value) for name, value in given.items()}


def _suits(kind: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "STRING":
            return isinstance(value, str)
        case "NUMBER_INTEGER":
            return number and float(value).is_integer() and abs(value) <= 2**53
        case "NUMBER_DOUBLE":
            return number and abs(value) < 1e308
        case "BOOLEAN":
            return isinstance(value, bool)
        case "LIST":
            return isinstance(value, list)
        case "STRUCT":
            return isinstance(value, dict)
    return False


def _exact(kind: str, value: Any) -> Any:
    if value is None:
        return None
    return int(value) if kind == "NUMBER_INTEGER" else float(value) if kind == "NUMBER_DOUBLE" else value


def _show(value: Any) -> str:
    return json.dumps(value)[:80]
