"""The outcome of feedback: how collect responds to it, and what the command line shows of it.

The decision is a function of plain data; its input is read from the database, on one machine and on a cluster alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, and_, select
from sqlalchemy.orm import aliased

from common.question import LETTERS
from functions.collect.parsing import FeedbackEvent, answer_key
from functions.collect.queries import label_of
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest
from functions.events import BadEventError

Reason = Literal["pending", "no-such-letter", "unknown-answer", "counted", "superseded", "test-traffic"]


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """An answer as logged. `letters` are its question's ("" where it came as binary tensors), `chosen` is the model's
    (None: no response yet, or one without it), `label` the right one by all the feedback so far."""

    letters: str
    chosen: str | None
    version: str | None
    purpose: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class FeedbackOutcome:
    """`reason` is the outcome of one feedback event:

    pending         it is not in the database (yet)
    no-such-letter  refused: the question does not have the letter
    unknown-answer  kept; counts as soon as an answer with this id is logged
    counted         it is the answer's label
    superseded      kept; a later one is the label
    test-traffic    kept; the answer was a test's, which counts for nothing
    """

    reason: Reason
    letters: str = ""
    chosen: str | None = None
    version: str | None = None
    label: str | None = None


def judge(letter: str, recorded: bool, counts: bool, answer: KnownAnswer | None) -> FeedbackOutcome:
    """The outcome. `recorded`: the event is in the database; `counts`: it is the latest for its answer."""
    if answer is None:
        return FeedbackOutcome("unknown-answer" if recorded else "pending")
    reason: Reason = "counted" if counts else "superseded"
    if answer.letters and letter not in answer.letters:
        reason = "no-such-letter"
    elif not recorded:
        reason = "pending"
    elif answer.purpose is not None:
        reason = "test-traffic"
    return FeedbackOutcome(reason, answer.letters, answer.chosen, answer.version, answer.label)


def outcome(connection: Connection, source: str, id: str, answer_id: str, letter: str) -> FeedbackOutcome:
    """The outcome of the event (source, id), by which `letter` is right for `answer_id`."""
    event = (GivenFeedback.source == source) & (GivenFeedback.id == id)
    recorded = connection.execute(select(GivenFeedback.id).where(event)).first() is not None
    answer, last = _known(connection, *answer_key(answer_id))
    return judge(letter, recorded, last == (source, id), answer)


def known(connection: Connection, answer_id: str) -> KnownAnswer | None:
    """The answer with this id; None where none was logged."""
    return _known(connection, *answer_key(answer_id))[0]


def check(connection: Connection, facts: FeedbackEvent) -> Reason:
    """The outcome of feedback that was just recorded; BadEventError where the question has no such letter."""
    answer, last = _known(connection, facts.answer_id, facts.place)
    result = judge(facts.letter, True, last == (facts.source, facts.id), answer)
    if result.reason == "no-such-letter":
        letters = f"{result.letters[0]} to {result.letters[-1]}"
        raise BadEventError(f"answer: the question has the letters {letters}, found {facts.letter!r}")
    return result.reason


def _known(connection: Connection, exchange: str, place: int) -> tuple[KnownAnswer | None, tuple[str, str] | None]:
    """The answer, and (source, id) of the feedback that counts for it."""
    question = and_(
        AskedQuestion.source == LoggedRequest.source,
        AskedQuestion.id == LoggedRequest.id,
        AskedQuestion.place == place,
    )
    answer = and_(
        GivenAnswer.source == LoggedRequest.source, GivenAnswer.id == LoggedRequest.id, GivenAnswer.place == place
    )
    any_of_it = aliased(AskedQuestion)
    some = select(any_of_it.id).where(any_of_it.source == LoggedRequest.source, any_of_it.id == LoggedRequest.id)
    columns = (LoggedRequest.version, LoggedRequest.purpose, AskedQuestion.choices, GivenAnswer.letter)
    statement = (
        select(
            *columns,
            some.exists().label("readable"),
            *(label_of(place, column).label(name) for name, column in _LABEL.items()),
        )
        .select_from(LoggedRequest)
        .outerjoin(AskedQuestion, question)
        .outerjoin(GivenAnswer, answer)
        .where(LoggedRequest.id == exchange)
    )
    for row in connection.execute(statement):
        if row.choices is None and row.letter is None and row.readable:
            continue  # the request has no question in this place
        known_answer = KnownAnswer(LETTERS[: row.choices or 0], row.letter, row.version, row.purpose, row.label)
        return known_answer, None if row.label is None else (row.feedback_source, row.feedback_id)
    return None, None


_LABEL = {"label": GivenFeedback.letter, "feedback_source": GivenFeedback.source, "feedback_id": GivenFeedback.id}
