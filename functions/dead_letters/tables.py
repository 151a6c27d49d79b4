"""The table of dead letters."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Double, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from functions.database import Base


class DeadLetterRecord(Base):
    """One event that one destination refused. The event itself is `attributes` (without knativeerror*) and `data`.

    `key` identifies it: the digest of (source, id, type, destination). `times` counts its arrivals.
    """

    __tablename__ = "dead_letters"
    __table_args__ = (Index("ix_dead_letters_state", "state", "last_at"),)

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(String)
    id: Mapped[str] = mapped_column(String)
    type: Mapped[str] = mapped_column(String)
    destination: Mapped[str] = mapped_column(String)
    code: Mapped[int | None] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(Text)
    attributes: Mapped[dict[str, Any]] = mapped_column(JSON)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(16))
    times: Mapped[int] = mapped_column(Integer)
    first_at: Mapped[float] = mapped_column(Double)
    last_at: Mapped[float] = mapped_column(Double)
