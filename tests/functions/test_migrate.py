"""Migration 0005 on rows that the release before wrote, on both databases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, text

from functions.database import engine, transaction
from functions.drift.store import checks
from functions.migrate import migrate
from functions.retrain.store import newest
from functions.rollout import store

ROLLOUT = [
    # action, reason, (action_type, reason_code, initiated_by)
    ("hold", "there is no InferenceService: apply the manifests", ("hold", "no-inference-service", "controller")),
    ("pin version 7, 0 % of the traffic", "challenger 7 against champion 6: its revision starts without traffic",
     ("set-spec", "canary-starting", "controller")),
    ("set 25 % of the traffic", "passed at 10 %: failures 0.0; accuracy", ("set-percent", "step-passed", "analysis")),
    ("set all traffic", "version 7 passed: all traffic to it", ("set-percent", "canary-passed", "controller")),
    ("tag version 7 rolled back from 6", "aborted by the operator", ("set-tag", "aborted", "operator")),
    ("tag version 7 rolled back from 6", "failed at 10 %: aborted by the operator",
     ("set-tag", "analysis-failed", "analysis")),
    ("tag version 7 rolled back from 6", "its revision was not ready after 1801 s: scaled to zero by the operator",
     ("set-tag", "start-timeout", "controller")),
    ("hold", "held at 10 % by the operator", ("hold", "held", "operator")),
    ("hold", "inconclusive after 25.0 h at 10 %, promote or abort it: held at 10 % by the operator",
     ("hold", "step-inconclusive", "analysis")),
    ("wait", "version 6 serves: challenger 7 was rolled back from 6: version 6 is starting",
     ("wait", "champion-serves", "controller")),
    ("wait", "version 6 is starting: version 6 serves: x", ("wait", "revision-starting", "controller")),
    ("record 10 %", "challenger 7 is at 10 % from now on", ("record", "step-recorded", "controller")),
    ("forget the rollout", "version 6 serves alone: there is no challenger",
     ("record", "champion-serves-alone", "controller")),
    ("alias champion to version 7", "version 7 passed its canary and serves all traffic",
     ("set-alias", "rollout-completed", "controller")),
    ("remove alias challenger", "version 7 is champion", ("delete-alias", "promotion-finished", "controller")),
    ("dance", "because", ("unknown", "unknown", "unknown")),
]  # fmt: skip
DRIFT = [
    ("version 7 has no reference.json; register it by the pipeline, which writes one", "reference-missing"),
    ("version 7: reference.json is not JSON: x", "reference-unusable"),
    ("12 answers in the window, 200 needed", "sample-too-small"),
    ("no feature moved in 300 answers; the window grows to 1000", "window-growing"),
    ("no feature moved in 1000 answers", "no-change"),
    ("2 windows in a row, 300 answers against 1000: confidence by 0.5 sd", "detected"),
    ("something else", "unknown"),
]
RETRAIN = [
    # source, state, version, error, (reason_code, initiated_by)
    ("/coding-mcqa/drift", "waiting", None, "", ("drift-detected", "drift")),
    ("/mcqa/request", "waiting", None, "", ("requested", "operator")),
    ("/apis/v1/namespaces/n/pingsources/weekly", "void", None, "3 answers got feedback since version 7 was made, at "
     "least 200 needed", ("too-little-feedback", "schedule")),
    ("/coding-mcqa/drift", "succeeded", "8", "", ("version-registered", "drift")),
    ("/coding-mcqa/drift", "succeeded", None, "no version was registered: the gate did not pass the challenger",
     ("gate-not-passed", "drift")),
    ("/coding-mcqa/drift", "failed", None, "step train failed: the run was canceled", ("run-failed", "drift")),
    ("/coding-mcqa/drift", "canceled", None, "the run was canceled", ("run-canceled", "drift")),
    ("/coding-mcqa/drift", "running", None, "", ("run-running", "drift")),
]  # fmt: skip


def fill(database: Engine) -> None:
    """Rows as the functions of schema 0004 write them, the columns of 0005 unknown to them."""
    with database.begin() as connection:

        def insert(table: str, **values: Any) -> None:
            names = ", ".join(values)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES (:{', :'.join(values)})"), values)

        for number, (action, reason, _) in enumerate(ROLLOUT, start=1):
            row = {"model": "m", "at": 1.0, "phase": "step", "action": action, "reason": reason}
            insert("rollout_decisions", number=number, generation="u/1", **row)
        insert("rollout_looks", **row)
        for sequence, (reason, _) in enumerate(DRIFT, start=1):
            insert(
                "drift_checks", model="m", sequence=sequence, version="7", checked_at=1.0, window_end=1.0, n=1,
                verdict="drift", alarm=False, reason=reason, document=json.dumps({}), traceparent="",
            )  # fmt: skip
        for key, (source, state, version, error, _) in enumerate(RETRAIN):
            insert(
                "retrain_runs", key=str(key), model=f"m{key}", champion="7", drift_source=source, drift_id="1",
                since=0.0, reason="", traceparent="", state=state, attempt=1, parameters="{}", error=error,
                version=version, created_at=1.0, updated_at=1.0, announced=0,
            )  # fmt: skip


@pytest.mark.parametrize("written", ["before the migration", "after it, by the release before"])
def test_old_rows_get_their_codes(database_url: str, written: str) -> None:
    made = engine(database_url)
    migrate(made, "0004")
    if written == "before the migration":
        fill(made)
    migrate(made)
    if written != "before the migration":
        fill(made)
    migrated = written == "before the migration"
    with transaction(made) as connection:
        decisions = list(reversed(store.decisions(connection, "m", 100)))
        for row, (_, reason, codes) in zip(decisions, ROLLOUT, strict=True):
            stored = (row["action_type"], row["reason_code"], row["initiated_by"])
            assert stored == (codes if migrated else ("unknown",) * 3), reason
            assert row["reason"] == reason
        status = store.read_status(connection, "m")
        assert status is not None
        assert status["reason_code"] == "unknown"
        for check, (reason, code) in zip(reversed(checks(connection, "m")), DRIFT, strict=True):
            assert (check.reason, check.reason_code) == (reason, code if migrated else "unknown")
        for key, (*_, run_codes) in enumerate(RETRAIN):
            (run,) = newest(connection, f"m{key}")
            assert (run.reason_code, run.initiated_by) == (run_codes if migrated else ("unknown", "unknown"))
    made.dispose()
