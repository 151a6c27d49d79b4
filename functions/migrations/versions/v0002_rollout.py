"""The rollout's record, wishes, looks and decisions, and the webhook's deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollouts",
        sa.Column("model", sa.String(), primary_key=True),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("challenger", "champion")),
        sa.Column("steps", sa.JSON(), nullable=False),
    )
    op.create_table(
        "rollout_wishes",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("action", sa.String(16), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("challenger", "by")),
        sa.Column("at", sa.Double(), nullable=False),
    )
    op.create_table(
        "rollout_looks",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        *(sa.Column(name, sa.String()) for name in ("champion", "challenger", "version")),
        sa.Column("percent", sa.Integer()),
        sa.Column("evidence", sa.JSON()),
    )
    op.create_table(
        "rollout_decisions",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        *(sa.Column(name, sa.String()) for name in ("champion", "challenger")),
        sa.Column("percent", sa.Integer()),
        sa.Column("generation", sa.String(), nullable=False),
        sa.Column("evidence", sa.JSON()),
        sa.Column("trace", sa.String()),
        sa.Column("announces", sa.String(16)),
        sa.Column("told_at", sa.Double()),
    )
    op.create_index("ix_rollout_decisions_model", "rollout_decisions", ["model", "number"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("received_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_webhook_deliveries_received_at", "webhook_deliveries", ["received_at"])
