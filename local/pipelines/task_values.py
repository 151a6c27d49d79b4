"""What a task was given and what it produced, in one form for every face of the API.

Artifacts are recorded among a task's outputs (outputs.py); here they get a number, and a place inside the run's folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.pipelines.database import Row

ARTIFACT, ARTIFACTS = "__kfp_artifact__", "__kfp_artifact_list__"
"""How a task's outputs mark their artifacts (outputs.py, which imports the SDK and is not imported here)."""
MAX_ARTIFACTS_OF_TASK = 100_000


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact that a task produced. `number` identifies it among those of all runs, in every attempt alike.

    `path` is where it is inside the run's folder, "" when there is no such file or folder, and `place` where it would
    be, "" for one that is elsewhere; `size` is in bytes, 0 for a folder. `index` counts the artifacts of a list output.
    """

    number: int
    run_id: str
    task_number: int
    task_id: str
    task_name: str
    name: str
    index: int
    type: str
    uri: str
    metadata: Mapping[str, Any]
    place: str
    path: str
    size: int
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Values:
    """Inputs or outputs of a task by name. What is not known yet is absent."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)


class Unknown:
    """The value of an input whose source has produced nothing yet, which None would confuse with a null."""


UNKNOWN = Unknown()


def selected(value: Any, expression: str) -> Any:
    """A field of a loop's item: parseJson(string_value)["field"]."""
    match = re.search(r'\["(.*?)"\]', expression)
    if match is None or value is UNKNOWN:
        return value
    try:
        item = json.loads(value) if isinstance(value, str) else value
        return item[match[1]]
    except (ValueError, KeyError, TypeError):
        return UNKNOWN


def filled(value: Any, values: Mapping[str, Any], facts: Mapping[str, str]) -> Any:
    """A constant with its placeholders replaced: facts of the run, and other inputs of the same task."""
    if not isinstance(value, str) or "{{$" not in value:
        return value
    for placeholder, fact in facts.items():
        value = value.replace(placeholder, fact)

    def other(match: re.Match[str]) -> str:
        found = values.get(match[1], match[0])
        return found if isinstance(found, str) else json.dumps(found, default=str)

    return re.sub(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}", other, value)


def by_kind(values: Mapping[str, Any]) -> Values:
    """Artifacts are tuples of them; JSON has no tuples."""
    return Values(
        {name: value for name, value in values.items() if not isinstance(value, tuple)},
        {name: value for name, value in values.items() if isinstance(value, tuple)},
    )


def produced(row: Row, root: Path) -> Values:
    parameters: dict[str, Any] = {}
    artifacts: dict[str, tuple[Artifact, ...]] = {}
    count = 0
    for name, value in json.loads(row["outputs"]).items():
        found = list(_artifact_values(value))
        if not found:
            parameters[name] = value
            continue
        entries = [_artifact(row, root, name, index, count + index, data) for index, data in enumerate(found)]
        count += len(found)
        artifacts[name] = tuple(entries)
    return Values(parameters, artifacts)


def _artifact_values(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict) and value.get(ARTIFACT):
        yield value
    elif isinstance(value, dict) and value.get(ARTIFACTS):
        yield from value.get("artifacts", [])


def _artifact(row: Row, root: Path, name: str, index: int, count: int, data: Mapping[str, Any]) -> Artifact:
    uri = str(data["uri"])
    inside = Path(uri).resolve() if uri and "://" not in uri else root
    place = inside.relative_to(root).as_posix() if inside != root and inside.is_relative_to(root) else ""
    is_here = bool(place) and inside.exists()
    is_folder = is_here and inside.is_dir()
    return Artifact(
        number=row["seq"] * MAX_ARTIFACTS_OF_TASK + min(count, MAX_ARTIFACTS_OF_TASK - 1), run_id=row["run_id"],
        task_number=row["seq"], task_id=row["id"], task_name=row["name"], name=name, index=index,
        type=data.get("schema_title") or "system.Artifact", uri=uri, metadata=data.get("metadata") or {}, place=place,
        path=place if is_here else "", size=inside.stat().st_size if is_here and not is_folder else 0,
        is_folder=is_folder,
    )  # fmt: skip
