"""Facts to rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from functions.collect.decision import Asked, Facts, Responded
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest, LoggedResponse
from functions.database import insert_once


def record(connection: Connection, facts: Facts) -> bool:
    """Inserts what an event says; False when the event was recorded before."""
    key: dict[str, Any] = {"source": facts.source, "id": facts.id}
    if isinstance(facts, Asked):
        if not insert_once(connection, LoggedRequest, {**key, "version": facts.version, "requested_at": facts.at}):
            return False
        questions = [
            {**key, "place": place, "choices": len(question["choices"]), "question": question}
            for place, question in enumerate(facts.questions)
        ]
        insert_once(connection, AskedQuestion, questions)
        return True
    if isinstance(facts, Responded):
        if not insert_once(connection, LoggedResponse, {**key, "version": facts.version, "responded_at": facts.at}):
            return False
        answers = [
            {**key, "place": place, "version": facts.version, "answered_at": facts.at, **asdict(answer)}
            for place, answer in enumerate(facts.answers)
        ]
        insert_once(connection, GivenAnswer, answers)
        return True
    feedback = {"answer_id": facts.answer_id, "place": facts.place, "letter": facts.letter, "given_at": facts.at}
    return insert_once(connection, GivenFeedback, {**key, **feedback})
