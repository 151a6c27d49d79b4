"""The model registry as the functions need it: MLflow's REST API, without importing mlflow (3 s, 174 MB)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from common.errors import UnavailableError
from predictor.storage.errors import StorageError, TransientError
from predictor.storage.mlflow import API, Registry, ServerUnavailableError

# A function has its caller's patience only: the Broker or the next tick tries again.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model: its tags, and the version each alias names."""

    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of it. `created` in Unix seconds."""

    version: str
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    created: float = 0.0


class ModelRegistry(Registry):
    """One registered model. UnavailableError when the server is away or refuses; ValueError for unusable MLFLOW_*."""

    def __init__(self, environ: Mapping[str, str], model: str) -> None:
        try:
            super().__init__({**_PATIENCE, **environ})
        except StorageError as error:
            raise ValueError(str(error)) from None
        self.model_name = model

    def model(self) -> RegisteredModel | None:
        """None when there is no such model."""
        answer = self.call("GET", "registered-models/get", name=self.model_name)
        if answer is None:
            return None
        found = answer["registered_model"]
        aliases = {a["alias"]: str(a["version"]) for a in found.get("aliases") or ()}
        return RegisteredModel(self.model_name, aliases, _tags(found))

    def version(self, version: str) -> RegisteredVersion | None:
        """None when there is no such version."""
        answer = self.call("GET", "model-versions/get", name=self.model_name, version=version)
        return None if answer is None else _version(answer["model_version"])

    def versions(self, most: int = 100) -> list[RegisteredVersion]:
        """The newest versions first."""
        query = {"filter": f"name='{self.model_name}'", "max_results": str(most), "order_by": "version_number DESC"}
        answer = self.call("GET", "model-versions/search", **query) or {}
        found = [_version(item) for item in answer.get("model_versions") or ()]
        return sorted(found, key=lambda item: -int(item.version))

    def set_tag(self, version: str, key: str, value: str) -> None:
        self._change("POST", "model-versions/set-tag", version=version, key=key, value=value)

    def delete_tag(self, version: str, key: str) -> None:
        self._change("DELETE", "model-versions/delete-tag", version=version, key=key)

    def set_alias(self, alias: str, version: str) -> None:
        self._change("POST", "registered-models/alias", alias=alias, version=version)

    def delete_alias(self, alias: str) -> None:
        self._change("DELETE", "registered-models/alias", alias=alias)

    def read(self, version: str, file: str) -> bytes | None:
        """One of the version's files, None when it has no such file."""
        with _unavailable():
            location = self.artifact_path(self.model_name, version)
            if file not in self.files(location):
                return None
            with self.stream(f"{location}/{file}", {}) as response:
                return b"".join(response.iter_bytes())

    def call(self, method: str, path: str, **fields: str) -> dict[str, Any] | None:
        """One REST call below /api/2.0/mlflow; None when what it names does not exist. UnavailableError otherwise."""
        with _unavailable():
            options: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
            response = self._http.request(method, f"{API}/{path}", **options)
            if response.status_code == 404 and "RESOURCE_DOES_NOT_EXIST" in response.text:
                return None
            if response.status_code != 200:
                raise self._failure(response)
            data: dict[str, Any] = response.json()
            return data

    def _change(self, method: str, path: str, **fields: str) -> None:
        if self.call(method, path, name=self.model_name, **fields) is None and method != "DELETE":
            raise UnavailableError(f"the registry has no {self.model_name} version {fields.get('version')}")


def _version(item: Mapping[str, Any]) -> RegisteredVersion:
    created = float(item.get("creation_timestamp") or 0) / 1000
    return RegisteredVersion(str(item["version"]), _tags(item), item.get("run_id") or None, created)


def _tags(item: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in item.get("tags") or ()}


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (StorageError, ServerUnavailableError, TransientError) as error:
        raise UnavailableError(f"the model registry: {error}") from None
    except (httpx2.TransportError, ValueError) as error:
        raise UnavailableError(f"the model registry does not answer: {type(error).__name__}: {error}") from None
