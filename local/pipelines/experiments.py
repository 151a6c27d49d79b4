"""Experiments: groups of runs. Every method is one transaction; refusals are KfpApiErrors."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from local.pipelines import serializers
from local.pipelines.database import PipelineDatabase, now
from local.pipelines.errors import already_exists, invalid_argument
from local.pipelines.pagination import list_response, paginate
from local.pipelines.request_fields import MAX_DESCRIPTION, MAX_NAME, name_field, text_field

DEFAULT_EXPERIMENT = "Default"
_DEFAULT_DESCRIPTION = "All runs created without specifying an experiment will be grouped here."
COLUMNS = {
    "created_at": "created_at", "description": "description", "namespace": "namespace", "experiment_id": "id",
    "id": "id", "name": "name", "display_name": "name", "storage_state": "storage_state",
    "last_run_created_at": "last_run_at",
}  # fmt: skip


class Experiments:
    def __init__(self, database: PipelineDatabase) -> None:
        self._database = database
        with database.writing():
            database.execute(
                """INSERT OR IGNORE INTO experiments (id, name, description, namespace, created_at)
                    VALUES (?, ?, ?, '', ?)""",
                str(uuid.uuid4()), DEFAULT_EXPERIMENT, _DEFAULT_DESCRIPTION, now(),
            )  # fmt: skip

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        name = name_field(body, "display_name")
        with self._database.writing():
            try:
                self._database.insert(
                    "experiments",
                    id=str(uuid.uuid4()),
                    name=name,
                    description=text_field(body, "description", MAX_DESCRIPTION),
                    namespace=text_field(body, "namespace", MAX_NAME),
                    created_at=now(),
                )
            except sqlite3.IntegrityError:
                raise already_exists("experiment", name) from None
            row = self._database.fetch_one("SELECT * FROM experiments WHERE name = ?", name)
        assert row is not None
        return serializers.experiment(row)

    def get(self, key: str) -> dict[str, Any]:
        return serializers.experiment(self._database.require("experiments", "experiment", key))

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        page = paginate(self._database, "experiments", COLUMNS, query, {})
        return list_response("experiments", page, serializers.experiment)

    def set_storage_state(self, key: str, state: str) -> None:
        """ARCHIVED archives the experiment's runs too; AVAILABLE restores the experiment only, as in Kubeflow."""
        self._database.require("experiments", "experiment", key)
        with self._database.writing():
            self._database.execute("UPDATE experiments SET storage_state = ? WHERE id = ?", state, key)
            if state == "ARCHIVED":
                self._database.execute("UPDATE runs SET storage_state = ? WHERE experiment_id = ?", state, key)

    def delete(self, key: str) -> None:
        """Deletes an experiment and keeps its runs, as Kubeflow does."""
        if self._database.require("experiments", "experiment", key)["name"] == DEFAULT_EXPERIMENT:
            raise invalid_argument("the experiment Default cannot be deleted")
        self._database.execute("DELETE FROM experiments WHERE id = ?", key)
