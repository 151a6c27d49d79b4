"""The drift checks, and the baselines that were accepted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Double, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from functions.database import Base, ReasonColumns


class DriftCheck(ReasonColumns, Base):
    """One check with its evidence, and the state it leaves for the next: the last row of a model *is* the state.

    Two checks at once want the same `sequence`, and the database gives it to one: that is the compare-and-swap.
    `document` is the data of the check's events. `sent_at` is None until the events are out.
    """

    __tablename__ = "drift_checks"
    __table_args__ = (
        Index("ix_drift_checks_version", "model", "version", "sequence"),
        Index("ix_drift_checks_sent", "sent_at"),
    )

    model: Mapped[str] = mapped_column(String, primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    version: Mapped[str] = mapped_column(String)
    checked_at: Mapped[float] = mapped_column(Double)
    window_start: Mapped[float | None] = mapped_column(Double)
    window_end: Mapped[float] = mapped_column(Double)
    n: Mapped[int] = mapped_column(BigInteger)
    verdict: Mapped[str] = mapped_column(String(16))
    alarm: Mapped[bool] = mapped_column(Boolean)
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    traceparent: Mapped[str] = mapped_column(String)
    sent_at: Mapped[float | None] = mapped_column(Double)


class DriftBaseline(Base):
    """Answers of a version that an operator accepted as normal: drift is measured against them, not its reference.json.

    `sequence` is the check that records the acceptance, `undone` the one that took it back (None: it is in force, where
    no later one of the version is). `reference` is the summary of the `n` answers within [since, until) in the form of
    a reference.json. Times are Unix seconds.
    """

    __tablename__ = "drift_baselines"
    __table_args__ = (Index("ix_drift_baselines_version", "model", "version", "sequence"),)

    model: Mapped[str] = mapped_column(String, primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    version: Mapped[str] = mapped_column(String)
    accepted_at: Mapped[float] = mapped_column(Double)
    accepted_by: Mapped[str] = mapped_column(String)
    since: Mapped[float] = mapped_column(Double)
    until: Mapped[float] = mapped_column(Double)
    n: Mapped[int] = mapped_column(BigInteger)
    reference: Mapped[str] = mapped_column(Text)
    undone: Mapped[int | None] = mapped_column(Integer)
