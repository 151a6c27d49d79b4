"""The JSONPath of printer columns: `.a.b`, `['a\\.b']`, `[*]`, `[0]`, `[?(@.type=='Ready')]`."""

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
        values = [found for value in values for found in _take(value, step)]
    return values[0] if values else None


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[tuple[str, Any], ...]:
    steps: list[tuple[str, Any]] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if not found:
            raise ValueError(f"{path!r}: no JSONPath from {path[at:]!r} on")
        if found["name"] or found["quoted"]:
            steps.append(("name", found["name"] or found["quoted"].replace("\\.", ".")))
        elif found["index"]:
            steps.append(("index", None if found["index"] == "*" else int(found["index"])))
        else:
            steps.append(("where", (found["field"], json.loads(found["value"].replace("'", '"')))))
        at = found.end()
    return tuple(steps)


def _take(value: Any, step: tuple[str, Any]) -> list[Any]:
    how, what = step
    if how == "name":
        return [value[what]] if isinstance(value, dict) and what in value else []
    if not isinstance(value, list):
        return []
    if how == "index":
        return value if what is None else value[what : what + 1]
    name, wanted = what
    found = (item for item in value if isinstance(item, dict) and item.get(name) == wanted)
    return [item for item in found if type(item[name]) is type(wanted)]  # 1 is not true
