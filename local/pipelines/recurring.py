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

from local.pipelines import triggers
from local.pipelines.database import Database, Row, now, stamp
from local.pipelines.errors import UNIMPLEMENTED, ApiError, invalid, not_found
from local.pipelines.listing import listing
from local.pipelines.runs import Runs
from local.pipelines.shapes import recurring_run
from local.pipelines.store import MAX_DESCRIPTION, MAX_NAME, label, paged, text

FIELDS = {
    "created_at": "created_at", "updated_at": "updated_at", "recurring_run_id": "id", "id": "id",
    "name": "display_name", "display_name": "display_name", "status": "status", "experiment_id": "experiment_id",
}  # fmt: skip
STATUS = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}
MAX_CONCURRENCY = 10
_SPACE = uuid.UUID("0d4a0f54-6f0f-4c0e-9c1e-6b8f5a8f2f5e")
log = logging.getLogger(__name__)


class RecurringRuns:
    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.database: Database = runs.database

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """ApiError when a run of it could not be started now."""
        trigger = triggers.read(body.get("trigger"))
        if (status := STATUS.get(str(body.get("mode")))) is None:
            raise invalid(f"mode must be ENABLE or DISABLE, found {str(body.get('mode'))[:40]!r}")
        if "[[" in json.dumps((body.get("runtime_config") or {}) if isinstance(body, Mapping) else {}):
            raise ApiError(UNIMPLEMENTED, "parameters like [[ScheduledTime]] need a cluster")
        name = label(body, "display_name")
        chosen = self._runs.prepare(body)
        created = datetime.now(UTC)
        kept = {
            "description": text(body, "description", MAX_DESCRIPTION),
            "service_account": text(body, "service_account", MAX_NAME),
            "max_concurrency": triggers.whole(body, "max_concurrency", 1, MAX_CONCURRENCY),
            "no_catchup": body.get("no_catchup") is True,
            "mode": body["mode"],
            **{field: body[field] for field in _KEPT if body.get(field)},
        }
        first = trigger.first(created)
        key = str(uuid.uuid4())
        self.database.insert(
            "recurring_runs",
            id=key,
            experiment_id=chosen["experiment_id"],
            display_name=name,
            created_at=stamp(created),
            updated_at=stamp(created),
            status=status,
            next_at=stamp(first) if first else "",
            body=json.dumps(kept),
        )
        return self.get(key)

    def get(self, key: str) -> dict[str, Any]:
        return recurring_run(self._row(key))

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        where = {"experiment_id": experiment} if (experiment := query.get("experiment_id")) else {}
        page = listing(self.database, "recurring_runs", FIELDS, query, where)
        return paged("recurringRuns", [recurring_run(row) for row in page.rows], page.total, page.token)

    def switch(self, key: str, status: str) -> None:
        """`status`: ENABLED or DISABLED. What is enabled again catches up, or does not, as it was told."""
        self._row(key)
        change = "UPDATE recurring_runs SET status = ?, updated_at = ? WHERE id = ?"
        self.database.change(change, status, now(), key)

    def delete(self, key: str) -> None:
        """Its runs stay."""
        self._row(key)
        self.database.change("DELETE FROM recurring_runs WHERE id = ?", key)

    def fire(self, moment: datetime | None = None) -> int:
        """Starts what is due at `moment`, or now; the number of runs. One of each recurring run at a time."""
        at = moment or datetime.now(UTC)
        due = "SELECT id FROM recurring_runs WHERE status = 'ENABLED' AND next_at <> '' AND next_at <= ? ORDER BY seq"
        return sum(self._fire(row["id"], at) for row in self.database.all(due, stamp(at)))

    def _fire(self, key: str, at: datetime) -> bool:
        with self.database.writing():
            row = self.database.one("SELECT * FROM recurring_runs WHERE id = ? AND status = 'ENABLED'", key)
            if row is None or not row["next_at"]:
                return False
            body = json.loads(row["body"])
            counted = self.database.one(
                """SELECT count(*) FROM runs WHERE recurring_run_id = ? AND deleted = 0
                    AND state IN ('PENDING', 'RUNNING', 'CANCELING')""",
                key,
            )
            if counted and counted[0] >= body["max_concurrency"]:
                return False
            planned = datetime.fromisoformat(row["next_at"])
            tick, following = triggers.read(body["trigger"]).due(planned, at, not body["no_catchup"])
            error = self._start(row, body, tick)
            change = "UPDATE recurring_runs SET next_at = ?, body = ? WHERE id = ?"
            kept = json.dumps({**body, "error": error})
            self.database.change(change, stamp(following) if following else "", kept, key)
        return not error

    def _start(self, row: Row, body: Mapping[str, Any], tick: datetime) -> str:
        """Why the run of this time could not be started, or ""."""
        scheduled = stamp(tick)
        asked = {
            **{field: body[field] for field in _OF_A_RUN if body.get(field)},
            "display_name": f"{row['display_name'][:100]} {scheduled[:19]}Z",
            "experiment_id": row["experiment_id"],
        }
        try:
            self._runs.create(asked, str(uuid.uuid5(_SPACE, f"{row['id']}/{scheduled}")), row["id"], scheduled)
        except ApiError as error:
            log.warning("recurring run %s: its run of %s is not started: %s", row["id"], scheduled, error.message)
            return error.message
        return ""

    def _row(self, key: str) -> Row:
        found = self.database.one("SELECT * FROM recurring_runs WHERE id = ?", key)
        if found is None:
            raise not_found("recurring run", key)
        return found


_OF_A_RUN = (
    "description", "service_account", "pipeline_spec", "pipeline_version_reference", "pipeline_version_id",
    "runtime_config",
)  # fmt: skip
_KEPT = (*_OF_A_RUN[2:], "trigger")
