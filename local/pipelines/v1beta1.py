"""The reads and deletes of Kubeflow Pipelines' v1beta1 API that its UI still makes: the same rows in their older form.

An id is `id` there, a display name `name`, and what a run belongs to a list of resource references. The pipeline of a
run or version is IR, in `pipeline_manifest` or a template; there never was a workflow of Argo's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local.pipelines.database import PipelineDatabase, Row
from local.pipelines.errors import not_found
from local.pipelines.experiments import COLUMNS as EXPERIMENT_COLUMNS
from local.pipelines.pagination import list_response, paginate
from local.pipelines.pipelines import COLUMNS as PIPELINE_COLUMNS
from local.pipelines.pipelines import VERSION_COLUMNS
from local.pipelines.recurring_runs import COLUMNS as JOB_COLUMNS
from local.pipelines.runs import COLUMNS as RUN_COLUMNS
from local.pipelines.serializers import recurring_run, without_empty

Message = dict[str, Any]
Query = Mapping[str, str]


class V1Reads:
    """What `/apis/v1beta1` reads. KfpApiError NOT_FOUND for an id that is not there."""

    def __init__(self, database: PipelineDatabase) -> None:
        self._database = database

    def experiment(self, key: str) -> Message:
        return _experiment(self._database.require("experiments", "experiment", key))

    def experiments(self, query: Query) -> Message:
        page = paginate(self._database, "experiments", EXPERIMENT_COLUMNS, query, {})
        return list_response("experiments", page, _experiment)

    def pipeline(self, key: str) -> Message:
        return self._pipeline(self._database.require("pipelines", "pipeline", key))

    def pipelines(self, query: Query) -> Message:
        page = paginate(self._database, "pipelines", PIPELINE_COLUMNS, query, {})
        return list_response("pipelines", page, self._pipeline)

    def version(self, key: str) -> Message:
        return _version(self._database.require("versions", "pipeline version", key))

    def versions(self, query: Query) -> Message:
        where = {"pipeline_id": query.get("resource_key.id", "")}
        page = paginate(self._database, "versions", VERSION_COLUMNS, query, where)
        return list_response("versions", page, _version)

    def template(self, key: str) -> Message:
        """The IR of a version, as JSON, which is YAML too."""
        return {"template": self._database.require("versions", "pipeline version", key)["spec"]}

    def newest_template(self, pipeline: str) -> Message:
        if (row := self._newest(pipeline)) is None:
            raise not_found("pipeline version", f"of the pipeline {pipeline}")
        return {"template": row["spec"]}

    def run(self, key: str) -> Message:
        row = self._database.fetch_one("SELECT * FROM runs WHERE id = ? AND deleted = 0", key)
        if row is None:
            raise not_found("run", key)
        return {"run": self._run(row), "pipeline_runtime": {"pipeline_manifest": row["spec"]}}

    def runs(self, query: Query) -> Message:
        page = paginate(self._database, "runs", RUN_COLUMNS, query, {"deleted": 0, **_experiment_of(query)})
        return list_response("runs", page, self._run)

    def job(self, key: str) -> Message:
        return self._job(self._database.require("recurring_runs", "recurring run", key))

    def jobs(self, query: Query) -> Message:
        page = paginate(self._database, "recurring_runs", JOB_COLUMNS, query, _experiment_of(query))
        return list_response("jobs", page, self._job)

    def _pipeline(self, row: Row) -> Message:
        newest = self._newest(row["id"])
        return without_empty(
            id=row["id"], name=row["display_name"], description=row["description"], created_at=row["created_at"],
            default_version=_version(newest) if newest else None,
        )  # fmt: skip

    def _newest(self, pipeline: str) -> Row | None:
        return self._database.fetch_one("SELECT * FROM versions WHERE pipeline_id = ? ORDER BY seq DESC", pipeline)

    def _run(self, row: Row) -> Message:
        return without_empty(
            id=row["id"], name=row["display_name"], description=row["description"],
            storage_state=f"STORAGESTATE_{row['storage_state']}", service_account=row["service_account"],
            created_at=row["created_at"], scheduled_at=row["scheduled_at"], finished_at=row["finished_at"],
            status=row["state"].title(), error=row["error"],
            pipeline_spec=_spec(row["spec"], json.loads(row["parameters"]), row["pipeline_id"]),
            resource_references=self._references(row["experiment_id"], row["version_id"], row["recurring_run_id"]),
        )  # fmt: skip

    def _job(self, row: Row) -> Message:
        newer = recurring_run(row)
        reference = newer.get("pipeline_version_reference") or {}
        pipeline, version = reference.get("pipeline_id", ""), reference.get("pipeline_version_id", "")
        spec = json.dumps(newer["pipeline_spec"]) if newer.get("pipeline_spec") else self._spec_of(pipeline, version)
        parameters = (newer.get("runtime_config") or {}).get("parameters") or {}
        return without_empty(
            id=row["id"], name=row["display_name"], description=newer.get("description", ""),
            service_account=newer.get("service_account", ""), max_concurrency=newer["max_concurrency"],
            trigger=newer["trigger"], mode=f"{newer['mode']}D", status=newer["status"].title(),
            error=newer.get("error", {}).get("message", ""), enabled=newer["status"] == "ENABLED",
            no_catchup=newer["no_catchup"], created_at=row["created_at"], updated_at=row["updated_at"],
            pipeline_spec=_spec(spec, parameters, pipeline),
            resource_references=self._references(row["experiment_id"], version),
        )  # fmt: skip

    def _spec_of(self, pipeline: str, version: str) -> str:
        row = self._database.fetch_one("SELECT spec FROM versions WHERE id = ?", version) or self._newest(pipeline)
        return str(row["spec"]) if row else ""

    def _references(self, experiment: str, version: str, job: str = "") -> list[Message]:
        entries = [
            ("experiments", "name", experiment, "EXPERIMENT", "OWNER"),
            ("versions", "display_name", version, "PIPELINE_VERSION", "CREATOR"),
            ("recurring_runs", "display_name", job, "JOB", "CREATOR"),
        ]
        found = []
        for table, column, key, kind, relationship in entries:
            row = self._database.fetch_one(f"SELECT {column} FROM {table} WHERE id = ?", key) if key else None
            if row is not None:
                found.append({"key": {"type": kind, "id": key}, "name": row[0], "relationship": relationship})
        return found


def _experiment(row: Row) -> Message:
    return without_empty(
        id=row["id"], name=row["name"], description=row["description"], created_at=row["created_at"],
        storage_state=f"STORAGESTATE_{row['storage_state']}",
    )  # fmt: skip


def _version(row: Row) -> Message:
    return without_empty(
        id=row["id"], name=row["display_name"], description=row["description"], created_at=row["created_at"],
        resource_references=[{"key": {"type": "PIPELINE", "id": row["pipeline_id"]}, "relationship": "OWNER"}],
    )  # fmt: skip


def _spec(spec: str, parameters: Mapping[str, Any], pipeline: str) -> Message:
    return without_empty(
        pipeline_id=pipeline, pipeline_manifest=spec, runtime_config={"parameters": parameters},
        pipeline_name=json.loads(spec)["pipelineInfo"]["name"] if spec else "",
    )  # fmt: skip


def _experiment_of(query: Query) -> dict[str, str]:
    """The experiment whose runs or jobs are asked for."""
    if query.get("resource_reference_key.type") != "EXPERIMENT":
        return {}
    return {"experiment_id": query.get("resource_reference_key.id", "")}
