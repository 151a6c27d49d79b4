"""What a task produced, as JSON in the database: written when it has finished, read when a later attempt keeps it.

The form is that of kfp.local's cache, plus what that cache does not record: whether an artifact had a file when
its task finished. Metrics and ClassificationMetrics live in their metadata alone, a generic Artifact may, and an
importer may name a place that this machine cannot see. Only a file that was there and is gone makes a task run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl import executor
from kfp.local import cache

ARTIFACT, ARTIFACTS = "__kfp_artifact__", "__kfp_artifact_list__"
_WITHOUT_FILES = frozenset({"system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics"})


class MissingOutputError(LookupError):
    """A file that a finished task had made is no longer there; the message names it."""


def serialize(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a task that has just finished, ready for JSON."""
    return {name: _serialized(value) for name, value in outputs.items()}


def deserialize(written: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs as their task gave them; MissingOutput when a file of theirs is gone."""
    return {name: _deserialized(value) for name, value in written.items()}


def _serialized(value: Any) -> Any:
    if isinstance(value, dsl.Artifact):
        data = {**cache.LocalCache._serialize_artifact(value), "file": bool(value.path) and Path(value.path).exists()}
        return data | ({"custom_path": value.custom_path} if value.custom_path else {})
    if isinstance(value, list) and value and all(isinstance(artifact, dsl.Artifact) for artifact in value):
        return {ARTIFACTS: True, "artifacts": [_serialized(artifact) for artifact in value]}
    return value


def _deserialized(value: Any) -> Any:
    if isinstance(value, dict) and value.get(ARTIFACT):
        return _artifact(value)
    if isinstance(value, dict) and value.get(ARTIFACTS):
        return [_artifact(artifact) for artifact in value["artifacts"]]
    return value


def _artifact(data: Mapping[str, Any]) -> dsl.Artifact:
    title = data["schema_title"]
    artifact = executor.create_artifact_instance(
        {"name": data["name"], "uri": data["uri"], "metadata": data["metadata"], "type": {"schemaTitle": title}}
    )
    if custom := data.get("custom_path"):
        artifact.custom_path = custom
    # An older platform did not record it: then only the types that always have a file must have one.
    had_file = data.get("file", title not in _WITHOUT_FILES and "://" not in data["uri"])
    if had_file and not Path(artifact.path).exists():
        raise MissingOutputError(artifact.path)
    return artifact
