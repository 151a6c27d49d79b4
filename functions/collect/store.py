"""Facts to rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Double, and_, case, func, literal, select
from sqlalchemy.orm import aliased

from functions.collect.parsing import CollectedEvent, FeedbackEvent, RequestEvent, ResponseEvent
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest, LoggedResponse
from functions.database import LOCK_SECONDS, insert_once


def record(connection: Connection, facts: CollectedEvent) -> bool:
    """Inserts an event's facts; False when the event was recorded before."""
    key: dict[str, Any] = {"source": facts.source, "id": facts.id}
    if isinstance(facts, FeedbackEvent):
        return insert_once(connection, GivenFeedback, {**key, **_feedback(facts)})
    at = {"version": facts.version, "sent_at": facts.times.sent}
    if isinstance(facts, RequestEvent):
        request = {**key, **at, "requested_at": facts.times.at, "purpose": facts.purpose}
        if not insert_once(connection, LoggedRequest, request):
            return False
        questions = [
            {**key, "place": place, "choices": len(question["choices"]), "question": question}
            for place, question in enumerate(facts.questions)
        ]
        insert_once(connection, AskedQuestion, questions)
        return True
    assert isinstance(facts, ResponseEvent)
    if not insert_once(connection, LoggedResponse, {**key, **at, "responded_at": facts.times.at}):
        return False
    same = {**key, "version": facts.version, "answered_at": facts.times.at, "purpose": facts.purpose}
    answers = [{**same, "place": place, **asdict(answer)} for place, answer in enumerate(facts.answers)]
    insert_once(connection, GivenAnswer, answers)
    return True


def _feedback(facts: FeedbackEvent) -> dict[str, Any]:
    """The row, with its place after the answer's feedback so far.

    If our own clock was set back since the latest of it, times do not show which came later: the new one then counts
    as given no earlier than that. All of this is in the insert itself, so that nothing is read before it is written. Of
    two events at the same time one may wait for the database while the other is recorded: the clock was not set back.
    """
    times = facts.times
    earlier = aliased(GivenFeedback)
    same = and_(earlier.answer_id == facts.answer_id, earlier.place == facts.place)
    latest = select(func.max(earlier.given_at)).where(same).correlate(None).scalar_subquery()
    newest = select(func.max(earlier.arrived_at)).where(same).correlate(None).scalar_subquery()
    set_back = newest > times.recorded + LOCK_SECONDS
    at = literal(times.at, Double)
    return {
        "answer_id": facts.answer_id,
        "place": facts.place,
        "letter": facts.letter,
        "given_at": case((and_(set_back, latest > at), latest), else_=at),
        "sent_at": times.sent,
        "arrived_at": times.arrived,
        "sequence": select(func.coalesce(func.max(earlier.sequence), 0) + 1)
        .where(same)
        .correlate(None)
        .scalar_subquery(),
    }
