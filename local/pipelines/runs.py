"""Runs and the states of their tasks: what clients ask for and change.

PENDING ──▶ RUNNING ──▶ SUCCEEDED | FAILED          the run's own process writes the result, once
   │            └─▶ CANCELING ──▶ CANCELED          by :terminate
   └──────────────────────────▶ CANCELED
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local.pipelines import parameters, serializers
from local.pipelines import pipeline_spec as specs
from local.pipelines.database import PipelineDatabase, Row, append_history, history_entry, now
from local.pipelines.errors import failed_precondition, invalid_argument, not_found
from local.pipelines.experiments import DEFAULT_EXPERIMENT
from local.pipelines.pagination import list_response, paginate
from local.pipelines.request_fields import MAX_DESCRIPTION, MAX_NAME, name_field, text_field
from local.pipelines.run_view import RunView

COLUMNS = {
    "created_at": "created_at", "finished_at": "finished_at", "scheduled_at": "scheduled_at", "run_id": "id",
    "id": "id", "name": "display_name", "display_name": "display_name", "description": "description", "state": "state",
    "storage_state": "storage_state", "experiment_id": "experiment_id", "recurring_run_id": "recurring_run_id",
    "pipeline_id": "pipeline_id", "pipeline_version_id": "version_id", "service_account": "service_account",
}  # fmt: skip
_TASK_NAMESPACE = uuid.UUID("5b1c1d57-3b0c-4d8f-9f5b-0a4f5b1f7a10")


class Runs:
    def __init__(self, database: PipelineDatabase, folder: Path) -> None:
        self.database = database
        self.root = folder

    def folder(self, key: str) -> Path:
        """Where a run's files are. `key` is the id of a run that is known, never what a client sent."""
        return self.root / "runs" / key

    def create(
        self, body: Mapping[str, Any], key: str = "", recurring: str = "", scheduled: str = ""
    ) -> dict[str, Any]:
        """A run, PENDING. KfpApiError when it could not run here. The same `key` again gives the run that is there."""
        name = name_field(body, "display_name")
        prepared = self.prepare(body)
        created = now()
        with self.database.writing():
            if key and self.database.fetch_one("SELECT 1 FROM runs WHERE id = ?", key):
                return self.get(key)
            self.database.insert(
                "runs",
                id=key or (key := str(uuid.uuid4())),
                experiment_id=prepared["experiment_id"],
                display_name=name,
                description=text_field(body, "description", MAX_DESCRIPTION),
                pipeline_id=prepared["pipeline_id"],
                version_id=prepared["version_id"],
                recurring_run_id=recurring,
                spec=prepared["spec"],
                parameters=json.dumps(prepared["parameters"]),
                service_account=text_field(body, "service_account", MAX_NAME),
                created_at=created,
                scheduled_at=scheduled or created,
                state="PENDING",
                history=json.dumps([history_entry("PENDING")]),
            )
            for path, task in specs.iter_tasks(json.loads(prepared["spec"])):
                add_task(self.database, key, path, task.get("taskInfo", {}).get("name") or path[-1])
            experiment = "UPDATE experiments SET last_run_at = ?, storage_state = 'AVAILABLE' WHERE id = ?"
            self.database.execute(experiment, created, prepared["experiment_id"])
        return self.get(key)

    def prepare(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a run of this body runs, checked: experiment, pipeline version, spec (JSON) and parameters."""
        config = body.get("runtime_config") or {}
        if not isinstance(config, dict):
            raise invalid_argument("runtime_config must be an object")
        text_field(config, "pipeline_root", 1000)
        experiment = text_field(body, "experiment_id", MAX_NAME)
        experiment_row = self.database.fetch_one("SELECT id FROM experiments WHERE id = ? OR (? = '' AND name = ?)",
                                  experiment, experiment, DEFAULT_EXPERIMENT)  # fmt: skip
        if experiment_row is None:
            raise not_found("experiment", experiment)
        pipeline, version, stored = self._stored(body)
        inline_spec = body.get("pipeline_spec")
        if (stored is None) == (inline_spec is None):
            raise invalid_argument("give either a pipeline_spec or a pipeline_version_reference")
        spec = json.loads(stored) if stored is not None else specs.normalize(inline_spec)
        values = parameters.validate(spec["root"].get("inputDefinitions", {}), config.get("parameters"))
        return {
            "experiment_id": experiment_row["id"], "pipeline_id": pipeline, "version_id": version, "parameters": values,
            "spec": stored if stored is not None else json.dumps(spec),
        }  # fmt: skip

    def _stored(self, body: Mapping[str, Any]) -> tuple[str, str, str | None]:
        """The pipeline, version and spec that the body refers to; the newest version where it names none."""
        reference = body.get("pipeline_version_reference") or {}
        if not isinstance(reference, dict):
            raise invalid_argument("pipeline_version_reference must be an object")
        pipeline = text_field(reference, "pipeline_id", MAX_NAME)
        version = text_field(reference, "pipeline_version_id", MAX_NAME) or text_field(
            body, "pipeline_version_id", MAX_NAME
        )
        if not pipeline and not version:
            return "", "", None
        if version:
            row = self.database.fetch_one("SELECT * FROM versions WHERE id = ?", version)
        else:
            row = self.database.fetch_one("SELECT * FROM versions WHERE pipeline_id = ? ORDER BY seq DESC", pipeline)
        if row is None or (pipeline and row["pipeline_id"] != pipeline):
            raise not_found("pipeline version", version or f"of the pipeline {pipeline}")
        return row["pipeline_id"], row["id"], row["spec"]

    def get(self, key: str) -> dict[str, Any]:
        """The run with its tasks. Of a version that was deleted since, it has the spec: nothing else has."""
        row = self.row(key)
        message = serializers.run(row, self.tasks(key))
        if row["version_id"] and not self.database.fetch_one("SELECT 1 FROM versions WHERE id = ?", row["version_id"]):
            del message["pipeline_version_reference"]
            message["pipeline_spec"] = json.loads(row["spec"])
        return message

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        where: dict[str, Any] = {"deleted": 0}
        if experiment := query.get("experiment_id"):
            where["experiment_id"] = experiment
        page = paginate(self.database, "runs", COLUMNS, query, where)
        return list_response("runs", page, serializers.run)

    def tasks(self, key: str) -> Sequence[Row]:
        return tuple(self.database.fetch_all("SELECT * FROM tasks WHERE run_id = ? ORDER BY seq", key))

    def view(self, row: Row) -> RunView:
        """A run as its tables and its folder show it."""
        return RunView(row, self.tasks(row["id"]), self.folder(row["id"]))

    def terminate(self, key: str) -> None:
        """A waiting run is cancelled immediately; a running one by the scheduler; a finished one stays what it is."""
        with self.database.writing():
            row = self.row(key)
            if row["state"] == "PENDING":
                finish(self.database, row, "CANCELED", "terminated before it began")
            elif row["state"] == "RUNNING":
                history = append_history(row["history"], history_entry("CANCELING"))
                self.database.execute("UPDATE runs SET state = 'CANCELING', history = ? WHERE id = ?", history, key)
            elif row["state"] != "CANCELING":
                raise failed_precondition(f"the run has finished: {row['state']}")

    def retry(self, key: str) -> None:
        """Runs a failed or cancelled run again: what succeeded is kept, everything else is repeated.

        So does every task that reads how others ended, such as an exit handler's: their outcome may change.
        """
        with self.database.writing():
            row = self.row(key)
            if row["state"] not in ("FAILED", "CANCELED"):
                raise failed_precondition(
                    f"only a run that failed or was cancelled can be retried; this one is {row['state']}"
                )
            exit_tasks = [
                task_id(key, "/".join(path))
                for path, task in specs.iter_tasks(json.loads(row["spec"]))
                if any("taskFinalStatus" in source for source in task.get("inputs", {}).get("parameters", {}).values())
            ]
            requeue(self.database, row, "", refund=True, rerun=exit_tasks)

    def set_storage_state(self, key: str, state: str) -> None:
        """Archives a run or brings it back."""
        self.row(key)
        self.database.execute("UPDATE runs SET storage_state = ? WHERE id = ?", state, key)

    def delete(self, key: str) -> None:
        """Gone for clients at once; the scheduler ends it and removes its files."""
        with self.database.writing():
            self.row(key)
            self.database.execute("UPDATE runs SET deleted = 1 WHERE id = ?", key)

    def row(self, key: str) -> Row:
        row = self.database.fetch_one("SELECT * FROM runs WHERE id = ? AND deleted = 0", key)
        if row is None:
            raise not_found("run", key)
        return row


def task_id(run: str, path: str) -> str:
    return str(uuid.uuid5(_TASK_NAMESPACE, f"{run}/{path}"))


def add_task(database: PipelineDatabase, run: str, path: tuple[str, ...], name: str) -> None:
    """A task that waits, unless it is there."""
    joined = "/".join(path)
    database.execute(
        "INSERT OR IGNORE INTO tasks (run_id, path, id, name, state, created_at, history) VALUES (?, ?, ?, ?, ?, ?, ?)",
        run, joined, task_id(run, joined), name, "PENDING", now(), json.dumps([history_entry("PENDING")]),
    )  # fmt: skip


def finish(database: PipelineDatabase, row: Row, state: str, error: str = "") -> None:
    """A run's last state, and one for every task that has none. Inside a transaction."""
    code = 1 if state == "CANCELED" else 13
    history = append_history(row["history"], history_entry(state, error, code))
    change = "UPDATE runs SET state = ?, error = ?, finished_at = ?, history = ?, pid = 0 WHERE id = ?"
    database.execute(change, state, error, now(), history, row["id"])
    for task in database.fetch_all(
        "SELECT * FROM tasks WHERE run_id = ? AND state IN ('PENDING', 'RUNNING')", row["id"]
    ):
        final_state = "SKIPPED" if task["state"] == "PENDING" else "CANCELED" if state == "CANCELED" else "FAILED"
        message = "" if final_state == "SKIPPED" else error
        change = "UPDATE tasks SET state = ?, error = ?, finished_at = ?, history = ? WHERE id = ?"
        at = now() if task["started_at"] else ""
        database.execute(
            change,
            final_state,
            message,
            at,
            append_history(task["history"], history_entry(final_state, message, code)),
            task["id"],
        )


def requeue(database: PipelineDatabase, row: Row, reason: str, *, refund: bool, rerun: Sequence[str] = ()) -> None:
    """Back to PENDING. Tasks that succeeded stay, except those with an id in `rerun`.

    `refund`: this start does not count. Inside a transaction.
    """
    history = append_history(row["history"], history_entry("PENDING", reason, 14))
    change = """UPDATE runs SET state = 'PENDING', error = '', finished_at = '', history = ?, pid = 0,
        first_attempt = CASE WHEN ? THEN attempt ELSE first_attempt END WHERE id = ?"""
    database.execute(change, history, refund, row["id"])
    for task in database.fetch_all("SELECT * FROM tasks WHERE run_id = ? AND state <> 'PENDING'", row["id"]):
        if task["state"] == "SUCCEEDED" and task["id"] not in rerun:
            continue
        change = """UPDATE tasks SET state = 'PENDING', error = '', started_at = '', finished_at = '', history = ?
            WHERE id = ?"""
        database.execute(change, append_history(task["history"], history_entry("PENDING", reason, 14)), task["id"])
