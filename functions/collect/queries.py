"""What the other functions ask of the payload log: a drift window, canary evidence, labelled questions.

Every query streams, so its memory does not depend on how much was logged. Times are Unix seconds, from inclusive, to
exclusive. Test traffic is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, Row, ScalarSelect, String, and_, case, func, literal, or_, select
from sqlalchemy.orm import aliased

from common.question import LETTERS
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest, LoggedResponse
from functions.rollout.evidence import Arm, Exchange, StepEvidence, observe, responded

WINDOW_FEATURES = ("confidence", "entropy", "margin", "prompt_tokens", "letter_mass")
CHUNK = 2_000
"""Rows at a time. Ten times as many take 1.5 times as long a row: they leave the processor's cache."""


class Step(Protocol):
    """A canary step's begin: functions.rollout.world.StepRecord."""

    @property
    def percent(self) -> int: ...

    @property
    def since(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some answers of a window: by feature one value an answer (None: the client did not ask for it), and letters."""

    features: dict[str, Sequence[float | None]]
    letters: Sequence[str]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question with its right answer's index, and what `version` chose (None: not known). `at`: when it was asked."""

    answer_id: str
    question: dict[str, Any]
    answer: int
    version: str | None
    chosen: int | None
    at: float

    def to_dict(self) -> dict[str, Any]:
        """The bank's form of a labelled question."""
        return {**self.question, "id": self.answer_id, "answer": self.answer}


def window(connection: Connection, version: str, since: float, until: float, chunk: int = CHUNK) -> Iterator[Chunk]:
    """The answers that `version` gave within [since, until), in chunks for drift's Window.add."""
    columns = [getattr(GivenAnswer, name) for name in WINDOW_FEATURES]
    statement = select(GivenAnswer.letter, *columns).where(
        GivenAnswer.version == version,
        GivenAnswer.answered_at >= since,
        GivenAnswer.answered_at < until,
        GivenAnswer.letter.is_not(None),
        GivenAnswer.purpose.is_(None),
    )
    for rows in _streamed(connection, statement, chunk).partitions():
        letters, *values = zip(*rows, strict=True)
        yield Chunk(dict(zip(WINDOW_FEATURES, values, strict=True)), letters)


def count(connection: Connection, version: str, since: float, until: float) -> int:
    """How many answers a window holds."""
    statement = select(func.count()).where(
        GivenAnswer.version == version,
        GivenAnswer.answered_at >= since,
        GivenAnswer.answered_at < until,
        GivenAnswer.letter.is_not(None),
        GivenAnswer.purpose.is_(None),
    )
    return connection.scalar(statement) or 0


def first_answer(connection: Connection, version: str) -> float | None:
    """When `version` gave its first answer."""
    statement = select(GivenAnswer.answered_at).where(GivenAnswer.version == version, GivenAnswer.purpose.is_(None))
    return connection.scalar(statement.order_by(GivenAnswer.answered_at).limit(1))


def arm(connection: Connection, version: str, since: float, until: float, now: float, deadline: float) -> Arm:
    """What is known of `version`'s requests within [since, until); `deadline` in seconds.

    A request counts once, for arrivals, failures and latency, however many questions it has; letters and labels count
    every answer. Requests that their log does not attribute to a version count for none: of those only the
    successes would ever be attributed, by their responses.
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
    connection: Connection, steps: Sequence[Step], champion: str, challenger: str, now: float, deadline: float
) -> tuple[StepEvidence, ...]:
    """Both versions during each of a rollout's steps, which end where the next begins; input of rollout's analyse."""
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


def labelled(connection: Connection, since: float = 0.0, until: float = float("inf")) -> Iterator[Labelled]:
    """The questions asked within [since, until) to which feedback gave an answer that is one of their choices."""
    same = and_(GivenAnswer.source == AskedQuestion.source, GivenAnswer.id == AskedQuestion.id)
    label = label_of(AskedQuestion.place)
    statement = (
        select(
            AskedQuestion.id,
            AskedQuestion.place,
            AskedQuestion.question,
            AskedQuestion.choices,
            label.label("label"),
            GivenAnswer.letter,
            LoggedRequest.version,
            LoggedRequest.requested_at,
        )
        .join(LoggedRequest, and_(LoggedRequest.source == AskedQuestion.source, LoggedRequest.id == AskedQuestion.id))
        .outerjoin(GivenAnswer, and_(same, GivenAnswer.place == AskedQuestion.place))
        .where(*_asked(since, until), label.is_not(None))
        .order_by(LoggedRequest.requested_at, AskedQuestion.id, AskedQuestion.place)
    )
    for row in _streamed(connection, statement):
        chosen = None if row.letter is None else LETTERS.index(row.letter)
        answer_id = f"{row.id}/{row.place}"
        yield Labelled(answer_id, row.question, LETTERS.index(row.label), row.version, chosen, row.requested_at)


def recent(connection: Connection, since: float, until: float, most: int) -> Iterator[dict[str, Any]]:
    """Up to `most` questions asked within [since, until), the latest first."""
    same = and_(LoggedRequest.source == AskedQuestion.source, LoggedRequest.id == AskedQuestion.id)
    statement = (
        select(AskedQuestion.question)
        .join(LoggedRequest, same)
        .where(*_asked(since, until))
        .order_by(LoggedRequest.requested_at.desc(), AskedQuestion.id, AskedQuestion.place)
        .limit(most)
    )
    for (question,) in connection.execute(statement):
        yield question


def label_count(connection: Connection, since: float, until: float) -> int:
    """How many answers got feedback within [since, until), however often each; those of tests left out."""
    test = select(LoggedRequest.id).where(
        LoggedRequest.id == GivenFeedback.answer_id, LoggedRequest.purpose.is_not(None)
    )
    within = (GivenFeedback.given_at >= since, GivenFeedback.given_at < until)
    answers = select(GivenFeedback.answer_id, GivenFeedback.place).where(*within, ~test.exists()).distinct()
    return connection.scalar(select(func.count()).select_from(answers.subquery())) or 0


def label_of(place: Any, column: Any = GivenFeedback.letter) -> ScalarSelect[Any]:
    """`column` of the feedback that counts for an answer: the last that names one of the question's letters.

    A time before the question was asked is nobody's: then the arrival counts. For a statement that reads requests and
    questions; `place` is the answer's in its exchange.
    """
    # Once more under another name: SQLite orders a subquery only by what is in it.
    asked = aliased(LoggedRequest)
    has = or_(
        AskedQuestion.choices.is_(None),
        GivenFeedback.letter <= func.substr(literal(LETTERS, String), AskedQuestion.choices, 1),
    )
    at = case((GivenFeedback.given_at < asked.requested_at, GivenFeedback.arrived_at), else_=GivenFeedback.given_at)
    return (
        select(column)
        .where(
            and_(asked.source == LoggedRequest.source, asked.id == LoggedRequest.id),
            and_(GivenFeedback.answer_id == LoggedRequest.id, GivenFeedback.place == place),
            has,
        )
        .order_by(at.desc(), GivenFeedback.sequence.desc(), GivenFeedback.id.desc(), GivenFeedback.source.desc())
        .limit(1)
        .correlate(LoggedRequest, AskedQuestion, GivenAnswer)
        .scalar_subquery()
    )


def _asked(since: float, until: float) -> tuple[Any, ...]:
    """Which requests are real questions of [since, until)."""
    return LoggedRequest.requested_at >= since, LoggedRequest.requested_at < until, LoggedRequest.purpose.is_(None)


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
        .where(LoggedRequest.version == version, *_asked(since, until))
    )
    for row in _streamed(connection, statement):
        ended = responded(row.requested_at, row.responded_at, row.request_sent, row.response_sent)
        yield Exchange(row.requested_at, ended, row.letter, row.confidence, _correct(row))


def _correct(row: Row[Any]) -> bool | None:
    """None without feedback."""
    return None if row.label is None or row.letter is None else bool(row.letter == row.label)


def _streamed(connection: Connection, statement: Executable, chunk: int = CHUNK) -> Any:
    return connection.execute(statement, execution_options={"stream_results": True, "yield_per": chunk})
