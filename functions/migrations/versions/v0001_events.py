"""The payload log, feedback, dead letters and notices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("version", sa.String()),
        sa.Column("requested_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_requests_version", "requests", ["version", "requested_at"])
    op.create_table(
        "responses",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("version", sa.String()),
        sa.Column("responded_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "questions",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("place", sa.Integer(), primary_key=True),
        sa.Column("choices", sa.Integer(), nullable=False),
        sa.Column("question", sa.JSON(), nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("place", sa.Integer(), primary_key=True),
        sa.Column("version", sa.String()),
        sa.Column("answered_at", sa.Double(), nullable=False),
        sa.Column("letter", sa.String(1)),
        *(sa.Column(name, sa.Double()) for name in ("confidence", "entropy", "margin", "letter_mass")),
        sa.Column("prompt_tokens", sa.BigInteger()),
    )
    op.create_index("ix_answers_version", "answers", ["version", "answered_at"])
    op.create_table(
        "feedback",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("answer_id", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("letter", sa.String(1), nullable=False),
        sa.Column("given_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_feedback_answer", "feedback", ["answer_id", "place", "given_at"])
    op.create_table(
        "dead_letters",
        sa.Column("key", sa.String(64), primary_key=True),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("source", "id", "type")),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("code", sa.Integer()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_dead_letters_state", "dead_letters", ["state", "last_at"])
    op.create_table(
        "notices",
        *(sa.Column(name, sa.String(), primary_key=True) for name in ("source", "id", "type")),
        sa.Column("target", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_notices_key", "notices", ["key", "target", "sent_at"])
