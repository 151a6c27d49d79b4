"""Recurring runs: what they are, and the runs they start when they are due.

A run and the time of the next one are written in one transaction, and a run's id is made of the recurring run and its
time: whenever the server is killed, each time starts one run. Where no pipeline version is named, each run takes the
newest one.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local.pipelines import recurring_trigger
from local.pipelines.database import PipelineDatabase, Row, now, timestamp
from local.pipelines.errors import UNIMPLEMENTED, KfpApiError, invalid_argument
from local.pipelines.pagination import list_response, paginate
from local.pipelines.request_fields import MAX_DESCRIPTION, MAX_NAME, int_field, name_field, text_field
from local.pipelines.runs import Runs
from local.pipelines.serializers import recurring_run

COLUMNS = {
    "created_at": "created_at", "updated_at": "updated_at", "recurring_run_id": "id", "id": "id",
    "name": "display_name", "display_name": "display_name", "status": "status", "experiment_id": "experiment_id",
}  # fmt: skip
STATUS = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}
MAX_CONCURRENCY = 10
_RUN_NAMESPACE = uuid.UUID("0d4a0f54-6f0f-4c0e-9c1e-6b8f5a8f2f5e")
log = logging.getLogger(__name__)


class RecurringRuns:
    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.database: PipelineDatabase = runs.database

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """KfpApiError when a run of it could not be started now."""
        trigger = recurring_trigger.parse(body.get("trigger"))
        if (status := STATUS.get(str(body.get("mode")))) is None:
            raise invalid_argument(f"mode must be ENABLE or DISABLE, found {str(body.get('mode'))[:40]!r}")
        if "[[" in json.dumps((body.get("runtime_config") or {}) if isinstance(body, Mapping) else {}):
            raise KfpApiError(UNIMPLEMENTED, "parameters like [[ScheduledTime]] need a cluster")
        name = name_field(body, "display_name")
        prepared = self._runs.prepare(body)
        created = datetime.now(UTC)
        stored = {
            "description": text_field(body, "description", MAX_DESCRIPTION),
            "service_account": text_field(body, "service_account", MAX_NAME),
            "max_concurrency": int_field(body, "max_concurrency", 1, MAX_CONCURRENCY),
            "no_catchup": body.get("no_catchup") is True,
            "mode": body["mode"],
            **{field: body[field] for field in _STORED_FIELDS if body.get(field)},
        }
        first = trigger.first(created)
        key = str(uuid.uuid4())
        self.database.insert(
            "recurring_runs",
            id=key,
            experiment_id=prepared["experiment_id"],
            display_name=name,
            created_at=timestamp(created),
            updated_at=timestamp(created),
            status=status,
            next_at=timestamp(first) if first else "",
            body=json.dumps(stored),
        )
        return self.get(key)

    def get(self, key: str) -> dict[str, Any]:
        return recurring_run(self.database.require("recurring_runs", "recurring run", key))

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        where = {"experiment_id": experiment} if (experiment := query.get("experiment_id")) else {}
        page = paginate(self.database, "recurring_runs", COLUMNS, query, where)
        return list_response("recurringRuns", page, recurring_run)

    def set_status(self, key: str, status: str) -> None:
        """`status`: ENABLED or DISABLED. Once enabled again, it catches up unless `no_catchup`."""
        self.database.require("recurring_runs", "recurring run", key)
        change = "UPDATE recurring_runs SET status = ?, updated_at = ? WHERE id = ?"
        self.database.execute(change, status, now(), key)

    def delete(self, key: str) -> None:
        """Its runs stay."""
        self.database.require("recurring_runs", "recurring run", key)
        self.database.execute("DELETE FROM recurring_runs WHERE id = ?", key)

    def start_due(self, moment: datetime | None = None) -> int:
        """Starts what is due at `moment`, or now; the number of runs. One of each recurring run at a time."""
        at = moment or datetime.now(UTC)
        due = "SELECT id FROM recurring_runs WHERE status = 'ENABLED' AND next_at <> '' AND next_at <= ? ORDER BY seq"
        return sum(self._start_if_due(row["id"], at) for row in self.database.fetch_all(due, timestamp(at)))

    def _start_if_due(self, key: str, at: datetime) -> bool:
        with self.database.writing():
            row = self.database.fetch_one("SELECT * FROM recurring_runs WHERE id = ? AND status = 'ENABLED'", key)
            if row is None or not row["next_at"]:
                return False
            body = json.loads(row["body"])
            active = self.database.fetch_one(
                """SELECT count(*) FROM runs WHERE recurring_run_id = ? AND deleted = 0
                    AND state IN ('PENDING', 'RUNNING', 'CANCELING')""",
                key,
            )
            if active and active[0] >= body["max_concurrency"]:
                return False
            due_at = datetime.fromisoformat(row["next_at"])
            scheduled_for, next_at = recurring_trigger.parse(body["trigger"]).due(due_at, at, not body["no_catchup"])
            error = self._start(row, body, scheduled_for)
            change = "UPDATE recurring_runs SET next_at = ?, body = ? WHERE id = ?"
            stored = json.dumps({**body, "error": error})
            self.database.execute(change, timestamp(next_at) if next_at else "", stored, key)
        return not error

    def _start(self, row: Row, body: Mapping[str, Any], scheduled_for: datetime) -> str:
        """Why the run of this time could not be started, or ""."""
        scheduled_at = timestamp(scheduled_for)
        run_request = {
            **{field: body[field] for field in _RUN_FIELDS if body.get(field)},
            "display_name": f"{row['display_name'][:100]} {scheduled_at[:19]}Z",
            "experiment_id": row["experiment_id"],
        }
        try:
            self._runs.create(
                run_request, str(uuid.uuid5(_RUN_NAMESPACE, f"{row['id']}/{scheduled_at}")), row["id"], scheduled_at
            )
        except KfpApiError as error:
            log.warning("recurring run %s: its run of %s is not started: %s", row["id"], scheduled_at, error.message)
            return error.message
        return ""


_RUN_FIELDS = (
    "description", "service_account", "pipeline_spec", "pipeline_version_reference", "pipeline_version_id",
    "runtime_config",
)  # fmt: skip
_STORED_FIELDS = (*_RUN_FIELDS[2:], "trigger")
