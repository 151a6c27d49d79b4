"""A run's parameters against the pipeline's inputs: checked at submission, as Kubeflow Pipelines does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local.pipelines.errors import invalid_argument

_NAMES = {
    "STRING": "a string",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "an object",
}


def validate(inputs: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """The parameters to run with, without defaults. `inputs` is `root.inputDefinitions`. KfpApiError 400 names the
    parameter, what was found and what is wanted.
    """
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise invalid_argument(f"runtime_config.parameters must be an object, found {_shortened(given)}")
    definitions: Mapping[str, Any] = inputs.get("parameters", {})
    if unknown := sorted(given.keys() - definitions.keys()):
        names = ", ".join(definitions) or "none"
        raise invalid_argument(f"parameter {unknown[0]!r} is not an input of the pipeline; it has: {names}")
    if required_artifacts := [
        name for name, artifact in inputs.get("artifacts", {}).items() if not artifact.get("isOptional")
    ]:
        raise invalid_argument(
            f"the pipeline takes the artifact {required_artifacts[0]!r}, which a run cannot be given"
        )
    for name, definition in definitions.items():
        if name in given:
            kind = definition.get("parameterType", "")
            if not (given[name] is None and definition.get("isOptional")) and not _has_type(kind, given[name]):
                raise invalid_argument(
                    f"parameter {name!r} must be {_NAMES.get(kind, kind)}, found {_shortened(given[name])}"
                )
            if (allowed := definition.get("literals")) and given[name] not in allowed:
                raise invalid_argument(
                    f"parameter {name!r} must be one of {_shortened(allowed)}, found {_shortened(given[name])}"
                )
        elif "defaultValue" not in definition and not definition.get("isOptional"):
            raise invalid_argument(f"parameter {name!r} is missing: it has no default")
    return {name: _coerced(definitions[name].get("parameterType", ""), value) for name, value in given.items()}


def _has_type(kind: str, value: Any) -> bool:
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


def _coerced(kind: str, value: Any) -> Any:
    if value is None:
        return None
    return int(value) if kind == "NUMBER_INTEGER" else float(value) if kind == "NUMBER_DOUBLE" else value


def _shortened(value: Any) -> str:
    return json.dumps(value)[:80]
