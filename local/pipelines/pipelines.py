"""Pipelines and their versions. Every method is one transaction; refusals are KfpApiErrors."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from local.pipelines import serializers
from local.pipelines.database import PipelineDatabase, now
from local.pipelines.errors import already_exists, invalid_argument, not_found
from local.pipelines.pagination import list_response, paginate
from local.pipelines.pipeline_spec import Spec
from local.pipelines.request_fields import MAX_DESCRIPTION, MAX_NAME, name_field, text_field

COLUMNS = {
    "created_at": "created_at", "description": "description", "namespace": "namespace", "pipeline_id": "id",
    "id": "id", "name": "name", "display_name": "display_name",
}  # fmt: skip
VERSION_COLUMNS = {
    "created_at": "created_at", "description": "description", "pipeline_version_id": "id", "id": "id", "name": "name",
    "display_name": "display_name",
}  # fmt: skip


class Pipelines:
    def __init__(self, database: PipelineDatabase) -> None:
        self._database = database

    def create(self, body: Mapping[str, Any], pipeline_spec: Spec | None = None) -> dict[str, Any]:
        """A pipeline and, where a spec is given, its first version of the same name."""
        name, display_name = _names(body)
        key = str(uuid.uuid4())
        with self._database.writing():
            try:
                self._database.insert(
                    "pipelines",
                    id=key,
                    name=name,
                    display_name=display_name,
                    description=text_field(body, "description", MAX_DESCRIPTION),
                    namespace=text_field(body, "namespace", MAX_NAME),
                    created_at=now(),
                )
            except sqlite3.IntegrityError:
                raise already_exists("pipeline", name) from None
            if pipeline_spec is not None:
                self.create_version(key, body, pipeline_spec)
        return self.get(key)

    def get(self, key: str) -> dict[str, Any]:
        return serializers.pipeline(self._database.require("pipelines", "pipeline", key))

    def get_by_name(self, name: str) -> dict[str, Any]:
        row = self._database.fetch_one("SELECT * FROM pipelines WHERE name = ?", name)
        if row is None:
            raise not_found("pipeline", name)
        return serializers.pipeline(row)

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        page = paginate(self._database, "pipelines", COLUMNS, query, {})
        return list_response("pipelines", page, serializers.pipeline)

    def update(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._database.require("pipelines", "pipeline", key)
        with self._database.writing():
            if "display_name" in body:
                display_name = name_field(body, "display_name")
                self._database.execute("UPDATE pipelines SET display_name = ? WHERE id = ?", display_name, key)
            if "description" in body:
                description = text_field(body, "description", MAX_DESCRIPTION)
                self._database.execute("UPDATE pipelines SET description = ? WHERE id = ?", description, key)
        return self.get(key)

    def delete(self, key: str, *, cascade: bool) -> None:
        self._database.require("pipelines", "pipeline", key)
        with self._database.writing():
            if not cascade and self._database.fetch_one("SELECT 1 FROM versions WHERE pipeline_id = ?", key):
                raise invalid_argument("the pipeline still has versions; delete them first, or say cascade=true")
            self._database.execute("DELETE FROM versions WHERE pipeline_id = ?", key)
            self._database.execute("DELETE FROM pipelines WHERE id = ?", key)

    def create_version(self, pipeline: str, body: Mapping[str, Any], pipeline_spec: Spec) -> dict[str, Any]:
        self._database.require("pipelines", "pipeline", pipeline)
        name, display_name = _names(body)
        key = str(uuid.uuid4())
        with self._database.writing():
            try:
                self._database.insert(
                    "versions",
                    id=key,
                    pipeline_id=pipeline,
                    name=name,
                    display_name=display_name,
                    description=text_field(body, "description", MAX_DESCRIPTION),
                    created_at=now(),
                    spec=json.dumps(pipeline_spec),
                )
            except sqlite3.IntegrityError:
                raise already_exists("pipeline version", name) from None
        return self.get_version(pipeline, key)

    def get_version(self, pipeline: str, key: str) -> dict[str, Any]:
        row = self._database.require("versions", "pipeline version", key)
        if row["pipeline_id"] != pipeline:
            raise not_found("pipeline version", key)
        return serializers.version(row)

    def list_versions(self, pipeline: str, query: Mapping[str, str]) -> dict[str, Any]:
        self._database.require("pipelines", "pipeline", pipeline)
        page = paginate(self._database, "versions", VERSION_COLUMNS, query, {"pipeline_id": pipeline})
        return list_response("pipeline_versions", page, serializers.version)

    def delete_version(self, pipeline: str, key: str) -> None:
        self.get_version(pipeline, key)
        self._database.execute("DELETE FROM versions WHERE id = ?", key)


def _names(body: Mapping[str, Any]) -> tuple[str, str]:
    """name and display_name, each of which stands in for the other."""
    display_name = name_field(body, "display_name" if body.get("display_name") else "name")
    return name_field(body, "name") if body.get("name") else display_name, display_name
