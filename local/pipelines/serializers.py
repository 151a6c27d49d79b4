"""Rows of the database as messages of the API (v2beta1). Times are RFC 3339; fields without a value are left out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from local.pipelines.database import Row

FINISHED = frozenset({"SUCCEEDED", "FAILED", "CANCELED"})


def experiment(row: Row) -> dict[str, Any]:
    return without_empty(
        experiment_id=row["id"],
        display_name=row["name"],
        description=row["description"],
        created_at=row["created_at"],
        namespace=row["namespace"],
        storage_state=row["storage_state"],
        last_run_created_at=row["last_run_at"],
    )


def pipeline(row: Row) -> dict[str, Any]:
    return without_empty(
        pipeline_id=row["id"],
        name=row["name"],
        display_name=row["display_name"],
        description=row["description"],
        created_at=row["created_at"],
        namespace=row["namespace"],
    )


def version(row: Row) -> dict[str, Any]:
    return without_empty(
        pipeline_id=row["pipeline_id"],
        pipeline_version_id=row["id"],
        name=row["name"],
        display_name=row["display_name"],
        description=row["description"],
        created_at=row["created_at"],
        pipeline_spec=json.loads(row["spec"]),
    )


def run(row: Row, tasks: Iterable[Row] | None = None) -> dict[str, Any]:
    """A run; with its `tasks`, as when one run is asked for, also run_details and the pipeline_spec it was given."""
    message = without_empty(
        experiment_id=row["experiment_id"],
        run_id=row["id"],
        display_name=row["display_name"],
        storage_state=row["storage_state"],
        description=row["description"],
        service_account=row["service_account"],
        created_at=row["created_at"],
        scheduled_at=row["scheduled_at"],
        finished_at=row["finished_at"],
        state=row["state"],
        recurring_run_id=row["recurring_run_id"],
        error=_error(row["error"]),
        state_history=json.loads(row["history"]),
    )
    message["runtime_config"] = {"parameters": json.loads(row["parameters"])}
    if row["version_id"]:
        message["pipeline_version_reference"] = {
            "pipeline_id": row["pipeline_id"],
            "pipeline_version_id": row["version_id"],
        }
    elif tasks is not None:
        message["pipeline_spec"] = json.loads(row["spec"])
    if tasks is not None:
        message["run_details"] = {"task_details": _tasks(list(tasks))}
    return message


def recurring_run(row: Row) -> dict[str, Any]:
    """A recurring run; 64-bit numbers are strings, as in protocol buffers' JSON."""
    body = json.loads(row["body"])
    ((kind, schedule),) = ((name, value) for name, value in body["trigger"].items() if value)
    if "interval_second" in schedule:
        schedule = {**schedule, "interval_second": str(schedule["interval_second"])}
    return without_empty(
        recurring_run_id=row["id"],
        display_name=row["display_name"],
        description=body["description"],
        pipeline_spec=body.get("pipeline_spec"),
        pipeline_version_reference=body.get("pipeline_version_reference"),
        runtime_config=body.get("runtime_config"),
        service_account=body["service_account"],
        max_concurrency=str(body["max_concurrency"]),
        trigger={kind: {name: value for name, value in schedule.items() if value}},
        mode=body["mode"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        status=row["status"],
        error=_error(body.get("error", "")),
        no_catchup=body["no_catchup"],
        experiment_id=row["experiment_id"],
    )


def _tasks(rows: list[Row]) -> list[dict[str, Any]]:
    ids = {row["path"]: row["id"] for row in rows}
    children: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        children.setdefault(row["path"].rpartition("/")[0], []).append({"task_id": row["id"]})
    return [
        without_empty(
            run_id=row["run_id"],
            task_id=row["id"],
            display_name=row["name"],
            create_time=row["created_at"],
            start_time=row["started_at"],
            end_time=row["finished_at"],
            state=row["state"],
            error=_error(row["error"]),
            parent_task_id=ids.get(row["path"].rpartition("/")[0], ""),
            state_history=json.loads(row["history"]),
            child_tasks=children.get(row["path"], []),
        )
        for row in rows
    ]


def _error(text: str) -> dict[str, Any] | None:
    return {"code": 13, "message": text, "details": []} if text else None


def without_empty(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", None, [])}
