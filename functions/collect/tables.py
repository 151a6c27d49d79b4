"""What collect records: one table per kind of fact, each row inserted once and never changed.

An exchange is one HTTP request and its response, both logged under the same (source, id). An answer id is
`<event id>/<place>` with places from 0, or `<event id>` alone for place 0: what feedback refers to.

Times are Unix seconds. `…_at` is when it happened, as far as that can be trusted (functions/clocks.py), `sent_at` the
sender's time, None if unreadable. `purpose` is None for a real question; an exchange with a purpose is a test, and
counts neither for drift nor for a canary nor as training data.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from functions.database import Base


class LoggedRequest(Base):
    """A request that reached this version. `version` is None where the log names none."""

    __tablename__ = "requests"
    __table_args__ = (Index("ix_requests_version", "version", "requested_at"), Index("ix_requests_id", "id"))

    source: Mapped[str] = mapped_column(String, primary_key=True)
    id: Mapped[str] = mapped_column(String, primary_key=True)
    version: Mapped[str | None] = mapped_column(String)
    requested_at: Mapped[float] = mapped_column(Double)
    sent_at: Mapped[float | None] = mapped_column(Double)
    purpose: Mapped[str | None] = mapped_column(String(16))


class LoggedResponse(Base):
    """Its answer, with status 200."""

    __tablename__ = "responses"

    source: Mapped[str] = mapped_column(String, primary_key=True)
    id: Mapped[str] = mapped_column(String, primary_key=True)
    version: Mapped[str | None] = mapped_column(String)
    responded_at: Mapped[float] = mapped_column(Double)
    sent_at: Mapped[float | None] = mapped_column(Double)


class AskedQuestion(Base):
    """One question of a request. `question` is its JSON object without `answer`; `choices` counts its choices."""

    __tablename__ = "questions"

    source: Mapped[str] = mapped_column(String, primary_key=True)
    id: Mapped[str] = mapped_column(String, primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    choices: Mapped[int] = mapped_column(Integer)
    question: Mapped[dict[str, Any]] = mapped_column(JSON)


class GivenAnswer(Base):
    """One answer of a response. `entropy` in nats; values that the client did not request are None.

    `version` and `answered_at` repeat the response's, so that a drift window is one range of one index; so does
    `purpose`, which the response repeats from its request.
    """

    __tablename__ = "answers"
    __table_args__ = (Index("ix_answers_version", "version", "answered_at"),)

    source: Mapped[str] = mapped_column(String, primary_key=True)
    id: Mapped[str] = mapped_column(String, primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    version: Mapped[str | None] = mapped_column(String)
    answered_at: Mapped[float] = mapped_column(Double)
    letter: Mapped[str | None] = mapped_column(String(1))
    confidence: Mapped[float | None] = mapped_column(Double)
    entropy: Mapped[float | None] = mapped_column(Double)
    margin: Mapped[float | None] = mapped_column(Double)
    letter_mass: Mapped[float | None] = mapped_column(Double)
    prompt_tokens: Mapped[int | None] = mapped_column(BigInteger)
    purpose: Mapped[str | None] = mapped_column(String(16))


class GivenFeedback(Base):
    """Somebody's label for an answer: the right letter. Of several the latest counts (`queries.label_of`).

    `arrived_at` is when the loop received it; `sequence` numbers an answer's feedback as it was recorded, from 1, which
    no clock can reorder.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        Index("ix_feedback_answer", "answer_id", "place", "given_at"),
        Index("ix_feedback_arrived_at", "arrived_at"),
        Index("ix_feedback_given_at", "given_at"),
    )

    source: Mapped[str] = mapped_column(String, primary_key=True)
    id: Mapped[str] = mapped_column(String, primary_key=True)
    answer_id: Mapped[str] = mapped_column(String)
    place: Mapped[int] = mapped_column(Integer)
    letter: Mapped[str] = mapped_column(String(1))
    given_at: Mapped[float] = mapped_column(Double)
    sent_at: Mapped[float | None] = mapped_column(Double)
    arrived_at: Mapped[float] = mapped_column(Double)
    sequence: Mapped[int] = mapped_column(Integer)
