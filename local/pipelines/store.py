"""Experiments, pipelines and their versions. Every method is one transaction; refusals are ApiErrors."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from local.pipelines import shapes
from local.pipelines import spec as specs
from local.pipelines.database import Database, Row, now
from local.pipelines.errors import exists, invalid, not_found
from local.pipelines.listing import listing

DEFAULT = "Default"
MAX_NAME = 128
MAX_DESCRIPTION = 4096
_COMMON = {"created_at": "created_at", "description": "description", "namespace": "namespace"}
EXPERIMENT_FIELDS = {
    **_COMMON, "experiment_id": "id", "id": "id", "name": "name", "display_name": "name",
    "storage_state": "storage_state", "last_run_created_at": "last_run_at",
}  # fmt: skip
PIPELINE_FIELDS = {**_COMMON, "pipeline_id": "id", "id": "id", "name": "name", "display_name": "display_name"}
VERSION_FIELDS = {
    "created_at": "created_at", "description": "description", "pipeline_version_id": "id", "id": "id", "name": "name",
    "display_name": "display_name",
}  # fmt: skip


class Store:
    def __init__(self, database: Database) -> None:
        self._database = database
        with database.writing():
            database.change(
                """INSERT OR IGNORE INTO experiments (id, name, description, namespace, created_at)
                    VALUES (?, ?, ?, '', ?)""",
                str(uuid.uuid4()), DEFAULT, "All runs created without specifying an experiment will be grouped here.",
                now(),
            )  # fmt: skip

    def create_experiment(self, body: Mapping[str, Any]) -> dict[str, Any]:
        name = label(body, "display_name")
        with self._database.writing():
            try:
                self._database.insert(
                    "experiments",
                    id=str(uuid.uuid4()),
                    name=name,
                    description=text(body, "description", MAX_DESCRIPTION),
                    namespace=text(body, "namespace", MAX_NAME),
                    created_at=now(),
                )
            except sqlite3.IntegrityError:
                raise exists("experiment", name) from None
            row = self._database.one("SELECT * FROM experiments WHERE name = ?", name)
        assert row is not None
        return shapes.experiment(row)

    def experiment(self, key: str) -> dict[str, Any]:
        return shapes.experiment(self._row("experiments", "experiment", key))

    def experiments(self, query: Mapping[str, str]) -> dict[str, Any]:
        page = listing(self._database, "experiments", EXPERIMENT_FIELDS, query, {})
        return paged("experiments", [shapes.experiment(row) for row in page.rows], page.total, page.token)

    def keep_experiment(self, key: str, state: str) -> None:
        """Archives an experiment with its runs, or brings the experiment back (not the runs, as in Kubeflow)."""
        self._row("experiments", "experiment", key)
        with self._database.writing():
            self._database.change("UPDATE experiments SET storage_state = ? WHERE id = ?", state, key)
            if state == "ARCHIVED":
                self._database.change("UPDATE runs SET storage_state = ? WHERE experiment_id = ?", state, key)

    def delete_experiment(self, key: str) -> None:
        """Deletes an experiment without its runs, as Kubeflow does."""
        if self._row("experiments", "experiment", key)["name"] == DEFAULT:
            raise invalid("the experiment Default cannot be deleted")
        self._database.change("DELETE FROM experiments WHERE id = ?", key)

    def create_pipeline(self, body: Mapping[str, Any], pipeline_spec: specs.Spec | None = None) -> dict[str, Any]:
        """A pipeline and, where a spec is given, its first version of the same name."""
        shown = label(body, "display_name" if body.get("display_name") else "name")
        name = label(body, "name") if body.get("name") else shown
        key = str(uuid.uuid4())
        with self._database.writing():
            try:
                self._database.insert(
                    "pipelines",
                    id=key,
                    name=name,
                    display_name=shown,
                    description=text(body, "description", MAX_DESCRIPTION),
                    namespace=text(body, "namespace", MAX_NAME),
                    created_at=now(),
                )
            except sqlite3.IntegrityError:
                raise exists("pipeline", name) from None
            if pipeline_spec is not None:
                self.create_version(key, body, pipeline_spec)
        return self.pipeline(key)

    def pipeline(self, key: str) -> dict[str, Any]:
        return shapes.pipeline(self._row("pipelines", "pipeline", key))

    def pipeline_named(self, name: str) -> dict[str, Any]:
        row = self._database.one("SELECT * FROM pipelines WHERE name = ?", name)
        if row is None:
            raise not_found("pipeline", name)
        return shapes.pipeline(row)

    def pipelines(self, query: Mapping[str, str]) -> dict[str, Any]:
        page = listing(self._database, "pipelines", PIPELINE_FIELDS, query, {})
        return paged("pipelines", [shapes.pipeline(row) for row in page.rows], page.total, page.token)

    def update_pipeline(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._row("pipelines", "pipeline", key)
        with self._database.writing():
            if "display_name" in body:
                self._database.change(
                    "UPDATE pipelines SET display_name = ? WHERE id = ?", label(body, "display_name"), key
                )
            if "description" in body:
                told = text(body, "description", MAX_DESCRIPTION)
                self._database.change("UPDATE pipelines SET description = ? WHERE id = ?", told, key)
        return self.pipeline(key)

    def delete_pipeline(self, key: str, cascade: bool) -> None:
        self._row("pipelines", "pipeline", key)
        with self._database.writing():
            if not cascade and self._database.one("SELECT 1 FROM versions WHERE pipeline_id = ?", key):
                raise invalid("the pipeline still has versions; delete them first, or say cascade=true")
            self._database.change("DELETE FROM versions WHERE pipeline_id = ?", key)
            self._database.change("DELETE FROM pipelines WHERE id = ?", key)

    def create_version(self, pipeline: str, body: Mapping[str, Any], pipeline_spec: specs.Spec) -> dict[str, Any]:
        self._row("pipelines", "pipeline", pipeline)
        shown = label(body, "display_name" if body.get("display_name") else "name")
        name = label(body, "name") if body.get("name") else shown
        key = str(uuid.uuid4())
        with self._database.writing():
            try:
                self._database.insert(
                    "versions",
                    id=key,
                    pipeline_id=pipeline,
                    name=name,
                    display_name=shown,
                    description=text(body, "description", MAX_DESCRIPTION),
                    created_at=now(),
                    spec=json.dumps(pipeline_spec),
                )
            except sqlite3.IntegrityError:
                raise exists("pipeline version", name) from None
        return self.version(pipeline, key)

    def version(self, pipeline: str, key: str) -> dict[str, Any]:
        row = self._row("versions", "pipeline version", key)
        if row["pipeline_id"] != pipeline:
            raise not_found("pipeline version", key)
        return shapes.version(row)

    def versions(self, pipeline: str, query: Mapping[str, str]) -> dict[str, Any]:
        self._row("pipelines", "pipeline", pipeline)
        page = listing(self._database, "versions", VERSION_FIELDS, query, {"pipeline_id": pipeline})
        return paged("pipeline_versions", [shapes.version(row) for row in page.rows], page.total, page.token)

    def delete_version(self, pipeline: str, key: str) -> None:
        self.version(pipeline, key)
        self._database.change("DELETE FROM versions WHERE id = ?", key)

    def _row(self, table: str, what: str, key: str) -> Row:
        row = self._database.one(f"SELECT * FROM {table} WHERE id = ?", key)
        if row is None:
            raise not_found(what, key)
        return row


def paged(field: str, items: list[dict[str, Any]], total: int, token: str) -> dict[str, Any]:
    found: dict[str, Any] = {field: items, "total_size": total} if items else {"total_size": total}
    return found | {"next_page_token": token} if token else found


def label(body: Mapping[str, Any], field: str) -> str:
    """A name people read: needed, of at most MAX_NAME characters, none of them a control character."""
    found = text(body, field, MAX_NAME)
    if not found.strip() or not found.isprintable():
        raise invalid(f"{field} must be a name, found {found[:40]!r}")
    return found


def text(body: Mapping[str, Any], field: str, limit: int) -> str:
    found = body.get(field)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > limit or "\0" in found or not _encodes(found):
        raise invalid(f"{field} must be a text of at most {limit} characters")
    return found


def _encodes(found: str) -> bool:
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True
