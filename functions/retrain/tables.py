"""Requested retrainings and their runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Double, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from functions.database import Base

_ACTIVE = text("state IN ('starting', 'queued', 'running')")


class RetrainRun(Base):
    """A drift's or a request's retraining, at most one of a model active: the database refuses a second.

    `drift_source` and `drift_id` name the event that requested it, `reason` is what that event says. A request has no
    `champion` and no `since` until it starts.

    `state` is a `decision.State`, `reason_code` why it is in that state, `initiated_by` who requested the retraining.
    `attempt` counts the runs that may have been started, `posted_at` is when the last of them was requested; `version`
    is what the run registered. `announced` counts the events that were sent. Times in Unix seconds.
    """

    __tablename__ = "retrain_runs"
    __table_args__ = (
        Index("ux_retrain_runs_active", "model", unique=True, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
        Index("ix_retrain_runs_model", "model", "created_at"),
    )

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String)
    champion: Mapped[str] = mapped_column(String)
    drift_source: Mapped[str] = mapped_column(String)
    drift_id: Mapped[str] = mapped_column(String)
    since: Mapped[float] = mapped_column(Double)
    reason: Mapped[str] = mapped_column(Text)
    traceparent: Mapped[str] = mapped_column(String)
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer)
    reason_code: Mapped[str] = mapped_column(String(32), server_default="unknown")
    initiated_by: Mapped[str] = mapped_column(String(16), server_default="unknown")
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    posted_at: Mapped[float | None] = mapped_column(Double)
    run_id: Mapped[str | None] = mapped_column(String)
    version: Mapped[str | None] = mapped_column(String)
    error: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Double)
    updated_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    announced: Mapped[int] = mapped_column(Integer)
