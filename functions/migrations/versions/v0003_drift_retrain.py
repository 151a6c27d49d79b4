"""Drift checks and retraining runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_checks",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("checked_at", sa.Double(), nullable=False),
        sa.Column("window_start", sa.Double()),
        sa.Column("window_end", sa.Double(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("alarm", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("traceparent", sa.String(), nullable=False),
        sa.Column("sent_at", sa.Double()),
    )
    op.create_index("ix_drift_checks_version", "drift_checks", ["model", "version", "sequence"])
    op.create_index("ix_drift_checks_sent", "drift_checks", ["sent_at"])
    op.create_table(
        "retrain_runs",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("champion", sa.String(), nullable=False),
        sa.Column("drift_source", sa.String(), nullable=False),
        sa.Column("drift_id", sa.String(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.String(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("posted_at", sa.Double()),
        *(sa.Column(name, sa.String()) for name in ("run_id", "version")),
        sa.Column("error", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("created_at", "updated_at")),
        *(sa.Column(name, sa.Double()) for name in ("started_at", "finished_at")),
        sa.Column("announced", sa.Integer(), nullable=False),
    )
    active = sa.text("state IN ('starting', 'queued', 'running')")
    op.create_index(
        "ux_retrain_runs_active",
        "retrain_runs",
        ["model"],
        unique=True,
        sqlite_where=active,
        postgresql_where=active,
    )
    op.create_index("ix_retrain_runs_model", "retrain_runs", ["model", "created_at"])
