"""Canary evidence from the payload log.

Every query streams, so its memory does not depend on how much was logged. Times are Unix seconds, from inclusive, to
exclusive. Test traffic is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from functions.collect.queries import label_of, real_questions
from functions.collect.tables import AskedQuestion, GivenAnswer, LoggedRequest, LoggedResponse
from functions.database import stream
from functions.rollout.evidence import Arm, Exchange, StepEvidence, observe, responded
from functions.rollout.state import StepRecord


def arm(connection: Connection, version: str, since: float, until: float, now: float, deadline: float) -> Arm:
    """The evidence of `version`'s requests within [since, until); `deadline` in seconds.

    A request counts once, for arrivals, failures and latency, however many questions it has; letters and labels count
    per answer. Requests that the log does not attribute to a version count for none: only the successful ones could
    be attributed, by their responses.
    """
    first = observe(_exchanges(connection, version, since, until, first=True), now, deadline)
    others = observe(_exchanges(connection, version, since, until, first=False), now, deadline)
    letters = dict(first.letters)
    for letter, count in others.letters.items():
        letters[letter] = letters.get(letter, 0) + count
    return Arm(
        first.requests,
        first.failures,
        first.latencies,
        letters,
        first.labelled + others.labelled,
        first.correct + others.correct,
        first.squares + others.squares,
        first.fourths + others.fourths,
    )


def step_evidence(
    connection: Connection, steps: Sequence[StepRecord], champion: str, challenger: str, now: float, deadline: float
) -> tuple[StepEvidence, ...]:
    """Both versions during each of a rollout's steps, which end where the next begins; the input of analyse()."""
    ends = [*(after.since for _, after in pairwise(steps)), now]
    return tuple(
        StepEvidence(
            step.percent,
            step.since,
            arm(connection, champion, step.since, end, now, deadline),
            arm(connection, challenger, step.since, end, now, deadline),
        )
        for step, end in zip(steps, ends, strict=True)
    )


def _exchanges(connection: Connection, version: str, since: float, until: float, first: bool) -> Iterator[Exchange]:
    """A version's requests with their first answer, or (`first` false) once for each further answer."""
    answer = and_(GivenAnswer.source == LoggedRequest.source, GivenAnswer.id == LoggedRequest.id)
    place = and_(answer, GivenAnswer.place == 0) if first else and_(answer, GivenAnswer.place > 0)
    question = and_(AskedQuestion.source == LoggedRequest.source, AskedQuestion.id == LoggedRequest.id)
    response = and_(LoggedResponse.source == LoggedRequest.source, LoggedResponse.id == LoggedRequest.id)
    statement = (
        select(
            LoggedRequest.requested_at,
            LoggedRequest.sent_at.label("request_sent"),
            LoggedResponse.responded_at,
            LoggedResponse.sent_at.label("response_sent"),
            GivenAnswer.letter,
            GivenAnswer.confidence,
            label_of(GivenAnswer.place).label("label"),
        )
        .select_from(LoggedRequest)
        .outerjoin(LoggedResponse, response)
        .join(GivenAnswer, place, isouter=first)
        .outerjoin(AskedQuestion, and_(question, AskedQuestion.place == GivenAnswer.place))
        .where(LoggedRequest.version == version, *real_questions(since, until))
    )
    for row in stream(connection, statement):
        ended = responded(row.requested_at, row.responded_at, row.request_sent, row.response_sent)
        yield Exchange(row.requested_at, ended, row.letter, row.confidence, _correct(row))


def _correct(row: Row[Any]) -> bool | None:
    """None without feedback."""
    return None if row.label is None or row.letter is None else bool(row.letter == row.label)
