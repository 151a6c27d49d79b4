"""Indexes for what came last: feedback by its times, notices by when they were sent.

Who shows the last hour, or deletes what is older than the retention, reads that and not the whole table.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_feedback_arrived_at", "feedback", ["arrived_at"])
    op.create_index("ix_feedback_given_at", "feedback", ["given_at"])
    op.create_index("ix_notices_sent_at", "notices", ["sent_at"])
