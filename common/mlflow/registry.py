"""One registered model of MLflow's registry: its versions, their tags and files, and the aliases."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.mlflow.client import MlflowClient, MlflowError


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model: its tags, and the version that each alias names."""

    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of it. `created` in Unix seconds, `description` what its maker wrote."""

    version: str
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    created: float = 0.0
    description: str = ""


class ModelRegistry(MlflowClient):
    """The client, with methods for one registered model. Impatient: its callers are tried again themselves."""

    def __init__(self, environ: Mapping[str, str], model: str) -> None:
        super().__init__(environ, timeout=10, max_retries=1)
        self.model_name = model

    def model(self) -> RegisteredModel | None:
        """None when there is no such model."""
        answer = self.call("GET", "registered-models/get", name=self.model_name)
        if answer is None:
            return None
        model = answer["registered_model"]
        aliases = {alias["alias"]: str(alias["version"]) for alias in model.get("aliases") or ()}
        return RegisteredModel(self.model_name, aliases, _tags(model))

    def version(self, version: str) -> RegisteredVersion | None:
        """None when there is no such version."""
        answer = self.call("GET", "model-versions/get", name=self.model_name, version=version)
        return None if answer is None else _version(answer["model_version"])

    def versions(self, limit: int = 100, before: int | None = None) -> list[RegisteredVersion]:
        """The newest versions first; of those with a lower number than `before`, where it is given."""
        older = "" if before is None else f" and version_number < {before}"
        query = {
            "filter": f"name='{self.model_name}'{older}",
            "max_results": str(limit),
            "order_by": "version_number DESC",
        }
        answer = self.call("GET", "model-versions/search", **query) or {}
        versions = [_version(item) for item in answer.get("model_versions") or ()]
        return sorted(versions, key=lambda version: -int(version.version))

    def set_tag(self, version: str, key: str, value: str) -> None:
        self._change("POST", "model-versions/set-tag", version=version, key=key, value=value)

    def set_alias(self, alias: str, version: str) -> None:
        self._change("POST", "registered-models/alias", alias=alias, version=version)

    def delete_alias(self, alias: str) -> None:
        self._change("DELETE", "registered-models/alias", alias=alias)

    def read(self, version: str, file: str) -> bytes | None:
        """A file at the root of the version's folder, None if it has no such file."""
        return self.read_files(version, (file,)).get(file)

    def read_files(self, version: str, files: Collection[str], most: int | None = None) -> dict[str, bytes]:
        """Those of the files that are at the root of the version's folder; MlflowError for more than `most` bytes."""
        folder = self.artifact_path(self.model_name, version)
        names = {entry["path"] for entry in self.list_artifacts(folder) if not entry.get("is_dir")}
        return {file: self.read_artifact(f"{folder}/{file}", most) for file in files if file in names}

    def _change(self, method: str, path: str, **fields: str) -> None:
        if self.call(method, path, name=self.model_name, **fields) is None and method != "DELETE":
            raise MlflowError(f"the registry has no {self.model_name} version {fields.get('version')}")


def _version(item: Mapping[str, Any]) -> RegisteredVersion:
    created = float(item.get("creation_timestamp") or 0) / 1000
    description = str(item.get("description") or "")
    return RegisteredVersion(str(item["version"]), _tags(item), item.get("run_id") or None, created, description)


def _tags(item: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in item.get("tags") or ()}
