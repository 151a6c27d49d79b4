"""What the rollout function remembers, and what it announces. `model` is the registered model's name everywhere.

Times are Unix seconds. Tables keep the names they got first: the functions of the release before continue to run
after a migration, until they are replaced.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from functions.database import Base, ReasonColumns


class RolloutRecord(Base):
    """The rollout under way: no row, none. `steps` are [percent, since] pairs in order."""

    __tablename__ = "rollouts"

    model: Mapped[str] = mapped_column(String, primary_key=True)
    challenger: Mapped[str] = mapped_column(String)
    champion: Mapped[str] = mapped_column(String)
    steps: Mapped[list[list[float]]] = mapped_column(JSON)


class RolloutOverride(Base):
    """The operator's last instruction for this challenger: `hold`, `promote` or `abort`."""

    __tablename__ = "rollout_wishes"

    model: Mapped[str] = mapped_column(String, primary_key=True)
    action: Mapped[str] = mapped_column(String(16))
    challenger: Mapped[str] = mapped_column(String)
    by: Mapped[str] = mapped_column(String)
    at: Mapped[float] = mapped_column(Double)


class RolloutStatus(ReasonColumns, Base):
    """What the last reconciliation decided, with its evidence. Overwritten by each."""

    __tablename__ = "rollout_looks"

    model: Mapped[str] = mapped_column(String, primary_key=True)
    at: Mapped[float] = mapped_column(Double)
    phase: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String)
    action_type: Mapped[str] = mapped_column(String(16), server_default="unknown")
    champion: Mapped[str | None] = mapped_column(String)
    challenger: Mapped[str | None] = mapped_column(String)
    version: Mapped[str | None] = mapped_column(String)
    percent: Mapped[int | None] = mapped_column(Integer)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class RolloutDecision(ReasonColumns, Base):
    """One decision, logged before it was carried out; the same one again is not a new row.

    `action` describes the action, `action_type` is its `actions.ActionType`. `generation` is the InferenceService's at
    that time, `percent` the challenger's share, `evidence` the analysis behind it, `trace` the traceparent of its
    events. `announces` is what is announced of it (None: nothing), `told_at` when it was.
    """

    __tablename__ = "rollout_decisions"
    __table_args__ = (Index("ix_rollout_decisions_model", "model", "number"),)

    number: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    model: Mapped[str] = mapped_column(String)
    at: Mapped[float] = mapped_column(Double)
    phase: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String)
    action_type: Mapped[str] = mapped_column(String(16), server_default="unknown")
    champion: Mapped[str | None] = mapped_column(String)
    challenger: Mapped[str | None] = mapped_column(String)
    percent: Mapped[int | None] = mapped_column(Integer)
    generation: Mapped[str] = mapped_column(String)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    trace: Mapped[str | None] = mapped_column(String)
    announces: Mapped[str | None] = mapped_column(String(16))
    told_at: Mapped[float | None] = mapped_column(Double)


class RolloutMeasurement(Base):
    """What an analysis of the canary measured at `at`: some of the analyses of a step, see `measurements.due`.

    `measures` are the `analysis.Measure`s as JSON, null for an infinite bound.
    """

    __tablename__ = "rollout_measurements"
    __table_args__ = (Index("ix_rollout_measurements_model", "model", "at"),)

    number: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    model: Mapped[str] = mapped_column(String)
    at: Mapped[float] = mapped_column(Double)
    champion: Mapped[str] = mapped_column(String)
    challenger: Mapped[str] = mapped_column(String)
    percent: Mapped[int] = mapped_column(Integer)
    verdict: Mapped[str] = mapped_column(String(16))
    measures: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class WebhookDelivery(Base):
    """A webhook call that was accepted, kept as long as its timestamp would be."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("ix_webhook_deliveries_received_at", "received_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    received_at: Mapped[float] = mapped_column(Double)
