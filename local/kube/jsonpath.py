"""The JSONPath of printer columns: `.a.b`, `['a\\.b']`, `[*]`, `[0]`, `[?(@.type=='Ready')]`.

By hand: kubectl's dialect (escaped dots, filters on one field) is not that of jsonpath-ng or python-jsonpath.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"\.(?P<name>[\w-]+)|\['(?P<quoted>[^']+)'\]|\[(?P<index>\*|\d+)\]|\[\?\(@\.(?P<field>\w+)==(?P<value>[^)]+)\)\]"
)


def first(item: Any, path: str) -> Any:
    """The first value at `path`, None when there is none."""
    values = [item]
    for step in _steps(path):
        values = [child for value in values for child in _take(value, step)]
    return values[0] if values else None


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[tuple[str, Any], ...]:
    steps: list[tuple[str, Any]] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if not match:
            raise ValueError(f"{path!r}: not a JSONPath from {path[position:]!r} on")
        if match["name"] or match["quoted"]:
            steps.append(("name", match["name"] or match["quoted"].replace("\\.", ".")))
        elif match["index"]:
            steps.append(("index", None if match["index"] == "*" else int(match["index"])))
        else:
            steps.append(("where", (match["field"], json.loads(match["value"].replace("'", '"')))))
        position = match.end()
    return tuple(steps)


def _take(value: Any, step: tuple[str, Any]) -> list[Any]:
    kind, argument = step
    if kind == "name":
        return [value[argument]] if isinstance(value, dict) and argument in value else []
    if not isinstance(value, list):
        return []
    if kind == "index":
        return value if argument is None else value[argument : argument + 1]
    name, expected = argument
    matching = (item for item in value if isinstance(item, dict) and item.get(name) == expected)
    return [item for item in matching if type(item[name]) is type(expected)]  # 1 is not true
