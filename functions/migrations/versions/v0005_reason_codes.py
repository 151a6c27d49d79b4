"""Reason codes of decisions, and who initiated them.

Existing rows get the code that their sentence identifies, read this once, or `unknown`. The defaults are for the
release before, whose functions go on writing until they are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Row = Mapping[Any, Any]

_ACTION_TYPES = (
    (r"pin version .*", "set-spec"),
    (r"set (all traffic|\d+ % of the traffic)", "set-percent"),
    (r"tag version .*", "set-tag"),
    (r"alias \S+ to version .*", "set-alias"),
    (r"remove alias .*", "delete-alias"),
    (r"forget the rollout|record \d+ %", "record"),
    ("wait", "wait"),
    ("hold", "hold"),
)

_ROLLOUT = (
    (r"there is no InferenceService: .*", "no-inference-service"),
    (r"no version has the alias champion: .*", "no-champion"),
    (r"the controller has not seen the last change yet", "awaiting-controller"),
    (r"version \S+ is champion after \S+", "champion-promoted"),
    (r"version \S+ is champion", "promotion-finished"),
    (r"first deployment of version \S+ .*", "first-deployment"),
    (r"no more traffic to version \S*: .*", "traffic-withdrawn"),
    (r"back to version \S+: .*", "restoring-champion"),
    (r"version \S* is starting(: .*)?", "revision-starting"),
    (r"version \S+ is ready and gets all traffic", "champion-ready"),
    (r"version \S+ serves alone: .*", "champion-serves-alone"),
    (r"version \S+ serves: .*", "champion-serves"),
    (r"the rollout of version \S+ is over, .*", "rollout-superseded"),
    (r"challenger \S+ is held by the operator", "held-before-start"),
    (r"held at \d+ % by the operator", "held"),
    (r"promoted by the operator, without its canary", "canary-skipped"),
    (r"aborted by the operator", "aborted"),
    (r"challenger \S+ against champion .*", "canary-starting"),
    (r"challenger \S+ is at \d+ % from now on", "step-recorded"),
    (r"version \S+ is ready: .*", "revision-ready"),
    (r"\d+ min at \d+ %: .*", "step-analysing"),
    (r"passed at \d+ %: .*", "step-passed"),
    (r"inconclusive after .*", "step-inconclusive"),
    (r"failed at \d+ %: .*", "analysis-failed"),
    (r"its revision was not ready after .*", "start-timeout"),
    (r"its share was taken back from .*", "share-withdrawn"),
    (r"version \S+ passed: .*", "canary-passed"),
    (r"version \S+ stays at hand as .*", "previous-champion-kept"),
    (r"version \S+ passed its canary and .*", "rollout-completed"),
)
_OPERATOR = {"aborted", "held", "held-before-start", "canary-skipped"}
_ANALYSIS = {"analysis-failed", "step-passed", "step-inconclusive"}

_DRIFT = (
    (r"version \S+ has no reference\.json; .*", "reference-missing"),
    (r"the reference of version \S+ holds .*", "reference-too-small"),
    (r"\d+ answers in the window, \d+ needed", "sample-too-small"),
    (r"no feature moved in \d+ answers; .*", "window-growing"),
    (r"no feature moved in \d+ answers", "no-change"),
    (r"quiet for \d+ of .*", "recovering"),
    (r"window \d+ of \d+ in a row: .*", "suspected"),
    (r"\d+ windows in a row, .*", "detected"),
    (r"still drifted, alarm raised before: .*", "still-drifted"),
    (r"still drifted \d+ h after .*", "reminder"),
    (r"version \S+: .*", "reference-unusable"),
)

_RETRAIN = (
    (r"the champion is version .*", "champion-changed"),
    (r"a (newer )?drift of version \S+ is known", "superseded-by-drift"),
    (r"a newer request is known|a request is known", "superseded-by-request"),
    (r"\d+ answers got feedback since .*", "too-little-feedback"),
    (r"no version was registered: .*", "gate-not-passed"),
    (r"the pipeline server refused the run: .*", "run-refused"),
    (r"the run says SUCCEEDED, but .*", "steps-failed"),
    (r"the run is gone from the pipeline server", "run-gone"),
    (r"the run was canceled", "run-canceled"),
)

_STATES = {"starting": "due", "queued": "run-queued", "running": "run-running", "failed": "run-failed"}


def upgrade() -> None:
    for table in ("rollout_looks", "rollout_decisions", "drift_checks", "retrain_runs"):
        op.add_column(table, sa.Column("reason_code", sa.String(32), nullable=False, server_default="unknown"))
        op.add_column(table, sa.Column("initiated_by", sa.String(16), nullable=False, server_default="unknown"))
    for table in ("rollout_looks", "rollout_decisions", "drift_checks"):
        op.add_column(table, sa.Column("reason_params", sa.JSON()))
    for table in ("rollout_looks", "rollout_decisions"):
        op.add_column(table, sa.Column("action_type", sa.String(16), nullable=False, server_default="unknown"))
    _fill("rollout_looks", ("model",), ("action", "reason"), _rollout)
    _fill("rollout_decisions", ("number",), ("action", "reason"), _rollout)
    _fill("drift_checks", ("model", "sequence"), ("reason",), _drift)
    _fill("retrain_runs", ("key",), ("state", "error", "version", "drift_source"), _retrain)


def _fill(name: str, keys: tuple[str, ...], columns: tuple[str, ...], codes: Callable[[Row], dict[str, str]]) -> None:
    table = sa.table(name, *map(sa.column, (*keys, *columns, "reason_code", "initiated_by", "action_type")))
    connection = op.get_bind()
    rows = connection.execute(sa.select(*(table.c[column] for column in (*keys, *columns)))).mappings().all()
    for row in rows:
        same = sa.and_(*(table.c[key] == row[key] for key in keys))
        connection.execute(sa.update(table).where(same).values(**codes(row)))


def _code(text: str, patterns: tuple[tuple[str, str], ...]) -> str:
    return next((code for pattern, code in patterns if re.fullmatch(pattern, text, re.DOTALL)), "unknown")


def _rollout(row: Row) -> dict[str, str]:
    code = _code(row["reason"], _ROLLOUT)
    by = "unknown" if code == "unknown" else "controller"
    by = "operator" if code in _OPERATOR else "analysis" if code in _ANALYSIS else by
    return {"reason_code": code, "initiated_by": by, "action_type": _code(row["action"], _ACTION_TYPES)}


def _drift(row: Row) -> dict[str, str]:
    return {"reason_code": _code(row["reason"], _DRIFT), "initiated_by": "schedule"}


def _retrain(row: Row) -> dict[str, str]:
    by = "schedule" if "/pingsources/" in row["drift_source"] else "operator"
    by = "drift" if row["drift_source"] == "/coding-mcqa/drift" else by
    code = _code(row["error"], _RETRAIN)
    if row["state"] == "succeeded" and row["version"]:
        code = "version-registered"
    elif row["state"] == "waiting":
        code = "drift-detected" if by == "drift" else "requested"
    elif code == "unknown":
        code = _STATES.get(row["state"], "unknown")
    return {"reason_code": code, "initiated_by": by}
