"""The SQLite file of experiments, pipelines, runs and tasks. The server and every run's process write to it."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.pipelines.errors import not_found
from local.sqlite import SqliteFile

FILE = "pipelines.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS experiments (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL, namespace TEXT NOT NULL, created_at TEXT NOT NULL,
    storage_state TEXT NOT NULL DEFAULT 'AVAILABLE', last_run_at TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS pipelines (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL, description TEXT NOT NULL, namespace TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS versions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, pipeline_id TEXT NOT NULL, name TEXT NOT NULL,
    display_name TEXT NOT NULL, description TEXT NOT NULL, created_at TEXT NOT NULL, spec TEXT NOT NULL,
    UNIQUE (pipeline_id, name)
);
CREATE TABLE IF NOT EXISTS runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, experiment_id TEXT NOT NULL,
    display_name TEXT NOT NULL, description TEXT NOT NULL, pipeline_id TEXT NOT NULL, version_id TEXT NOT NULL,
    recurring_run_id TEXT NOT NULL DEFAULT '', spec TEXT NOT NULL, parameters TEXT NOT NULL,
    service_account TEXT NOT NULL, created_at TEXT NOT NULL, scheduled_at TEXT NOT NULL,
    finished_at TEXT NOT NULL DEFAULT '', state TEXT NOT NULL, storage_state TEXT NOT NULL DEFAULT 'AVAILABLE',
    error TEXT NOT NULL DEFAULT '', history TEXT NOT NULL, outputs TEXT NOT NULL DEFAULT '{}',
    attempt INTEGER NOT NULL DEFAULT 0, first_attempt INTEGER NOT NULL DEFAULT 0, pid INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state);
CREATE TABLE IF NOT EXISTS tasks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, path TEXT NOT NULL, id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL, state TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT NOT NULL DEFAULT '',
    finished_at TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', outputs TEXT NOT NULL DEFAULT '{}',
    history TEXT NOT NULL, executions INTEGER NOT NULL DEFAULT 0, UNIQUE (run_id, path)
);
CREATE TABLE IF NOT EXISTS recurring_runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, experiment_id TEXT NOT NULL,
    display_name TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, status TEXT NOT NULL,
    next_at TEXT NOT NULL, body TEXT NOT NULL
);
"""

Row = sqlite3.Row


class PipelineDatabase(SqliteFile):
    """The server's and its runs' tables."""

    part = "pipelines"

    def __init__(self, path: Path) -> None:
        super().__init__(path, _TABLES)

    def _open(self) -> None:
        super()._open()
        # SQLite's own lower() knows only ASCII's letters.
        self._sql.create_function("casefold", 1, lambda text: str(text or "").casefold(), deterministic=True)

    def require(self, table: str, noun: str, key: str) -> Row:
        """The row of this id; KfpApiError NOT_FOUND, which calls it a `noun`, when there is none."""
        row = self.fetch_one(f"SELECT * FROM {table} WHERE id = ?", key)
        if row is None:
            raise not_found(noun, key)
        return row

    def insert(self, table: str, **values: Any) -> None:
        """sqlite3.IntegrityError when a name or id is taken."""
        with self._lock, self._storage_errors():
            marks = ", ".join("?" * len(values))
            self._sql.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def now() -> str:
    """RFC 3339 in UTC with microseconds; such strings sort by time."""
    return timestamp(datetime.now(UTC))


def timestamp(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def history_entry(state: str, error: str = "", code: int = 13) -> dict[str, Any]:
    """An item of a state_history."""
    item: dict[str, Any] = {"update_time": now(), "state": state}
    return item | {"error": {"code": code, "message": error, "details": []}} if error else item


def append_history(history: str, *items: dict[str, Any]) -> str:
    return json.dumps([*json.loads(history), *items])
