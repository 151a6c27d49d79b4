"""Sent notifications."""

from __future__ import annotations

from sqlalchemy import Double, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from functions.database import Base


class SentNotice(Base):
    """One message that one target took. `target` is a digest of its URL, which may hold a password; `key` one of
    the message's content."""

    __tablename__ = "notices"
    __table_args__ = (
        Index("ix_notices_key", "key", "target", "sent_at"),
        Index("ix_notices_sent_at", "sent_at"),
    )

    source: Mapped[str] = mapped_column(String, primary_key=True)
    id: Mapped[str] = mapped_column(String, primary_key=True)
    type: Mapped[str] = mapped_column(String, primary_key=True)
    target: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    sent_at: Mapped[float] = mapped_column(Double)
