"""What each sender's clock said, the order of feedback, and what an exchange was for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("requests", "responses", "feedback"):
        op.add_column(table, sa.Column("sent_at", sa.Double()))
    for table in ("requests", "answers"):
        op.add_column(table, sa.Column("purpose", sa.String(16)))
    # Feedback is looked up by the answer's id alone: whoever gives it does not know the logger's source.
    op.create_index("ix_requests_id", "requests", ["id"])
    # SQLite adds no column without a value for the rows that are there.
    op.add_column("feedback", sa.Column("arrived_at", sa.Double(), nullable=False, server_default="0"))
    op.add_column("feedback", sa.Column("sequence", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE feedback SET arrived_at = given_at")
