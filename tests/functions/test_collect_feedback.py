"""Which of several corrections counts, and what becomes of feedback; on both of the loop's databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from common.event_types import FEEDBACK, INFERENCE_REQUEST, INFERENCE_RESPONSE
from functions.collect.feedback import FeedbackOutcome, KnownAnswer, check, judge, known, outcome
from functions.collect.parsing import FeedbackEvent, parse_event
from functions.collect.queries import label_count, labelled, recent
from functions.collect.store import record
from functions.collect.tables import GivenFeedback
from functions.database import transaction
from functions.drift.queries import count_answers, first_answer, window_chunks
from functions.events import BadEventError, Event
from functions.migrate import migrate
from functions.rollout.queries import arm

BEGIN = 1_772_366_400.0  # 2026-03-01T12:00:00Z
QUESTION = {"question": "?", "choices": ["1", "2", "3"]}
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
FAR = 4_070_908_800.0 - BEGIN  # 2099
EPOCH = -BEGIN


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def tell(database: Engine, type: str, id: str, data: Any, now: float, sent: float | None, arrived: float) -> None:
    """An event that is looked at `now`; all times from BEGIN on. Feedback is checked as collect does."""
    more = {"knativearrivaltime": iso(BEGIN + arrived), "annotations": '{"coding-mcqa/model-version": "7"}'}
    time = None if sent is None else iso(BEGIN + sent)
    facts = parse_event(Event(id, "/s", type, time, extensions=more, data=json.dumps(data).encode()), BEGIN + now)
    with transaction(database) as connection:
        record(connection, facts)
        if isinstance(facts, FeedbackEvent):
            check(connection, facts)


def ask(database: Engine, id: str, at: float = 0.0, letters: str = "A", test: bool = False) -> None:
    more = {"parameters": {"purpose": "test"}} if test else {}
    instances = {"instances": [QUESTION] * len(letters), **more}
    tell(database, INFERENCE_REQUEST, id, instances, at, at, at)
    answers: dict[str, Any] = {"predictions": [{"letter": letter, "confidence": 0.75} for letter in letters]}
    answers |= {"purpose": "test"} if test else {}
    tell(database, INFERENCE_RESPONSE, id, answers, at + 1, at + 1, at + 1)


def say(
    database: Engine, id: str, letter: str, now: float, sent: float | None = None, arrived: float | None = None
) -> None:
    tell(database, FEEDBACK, id, {"answer_id": "a", "answer": letter}, now, sent, now if arrived is None else arrived)


ORDERS: dict[str, list[tuple[Any, ...]]] = {
    # (letter, our clock, the sender's time, the Broker's arrival) in the order of recording; the last word is B
    "times of day": [("A", 60, 60), ("B", 120, 120)],
    "without times": [("A", 60), ("B", 120)],
    "the first is of 2099": [("A", 60, FAR), ("B", 120, 120)],
    "the first is of 2099, the correction says nothing": [("A", 60, FAR), ("B", 120)],
    "both are of 2099": [("A", 60, FAR + HOUR), ("B", 120, FAR)],
    "the correction is of 1970": [("A", 60, 60), ("B", 120, EPOCH)],
    "of 2099, then of 1970": [("A", 60, FAR), ("B", 120, EPOCH)],
    "the correction's clock is a day slow": [("A", 60, 60), ("B", 120, 120 - DAY)],
    "both clocks are a day slow": [("A", 60, 60 - DAY), ("B", 120, 120 - DAY)],
    "the same second": [("A", 60.2, 60), ("B", 60.4, 60)],
    "the same moment": [("A", 60), ("B", 60)],
    "a retry brings the first one later": [("B", 120, 120), ("A", 180, 60)],
    "a retry of one without a time": [("B", 120, None, 120), ("A", 180, None, 60)],
    "two at once, recorded the other way round": [("B", 120.2, None, 120.1), ("A", 120.05, None, 120.0)],
    "two at once, the later one without a clock": [("B", 120.2, EPOCH, 120.1), ("A", 120.05, 120.0, 120.0)],
    "our clock was set back": [("A", 7200, 7200), ("B", 3600, 3598)],
    "our clock was set back, no times": [("A", 7200), ("B", 3600)],
    "our clock was in 2099": [("A", FAR, FAR), ("B", 120, 118)],
    "our clock was in 2099, and two corrections": [("A", FAR, FAR), ("C", 120, 118), ("B", 240, 238)],
    "set back before the question's own time": [("A", 60), ("B", -3600)],
    "the Broker's clock is of 2099": [("A", 60, None, FAR), ("B", 120, None, 120)],
    "the Broker's clock is of 1970": [("A", 60, None, 60), ("B", 120, None, EPOCH)],
    "a letter that the question has not, earlier": [("J", -1, -1), ("B", 120, 120)],
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_correction_counts_whatever_the_clocks_say(database: Engine, name: str) -> None:
    asked = False
    for number, (letter, now, *times) in enumerate(ORDERS[name]):
        if not asked and letter != "J":
            ask(database, "a")
            asked = True
        say(database, f"f{number}", letter, now, *times)
    last = next(n for n, (letter, *_) in enumerate(ORDERS[name]) if letter == "B")
    with transaction(database) as connection:
        assert [item.answer for item in labelled(connection)] == [1]
        actual = {n: outcome(connection, "/s", f"f{n}", "a", row[0]).reason for n, row in enumerate(ORDERS[name])}
        evidence = arm(connection, "7", BEGIN, BEGIN + DAY, BEGIN + DAY, 60.0)
    assert actual.pop(last) == "counted"
    assert set(actual.values()) <= {"superseded", "no-such-letter"}
    assert (evidence.labelled, evidence.correct) == (1, 0), "the model chose A"


@pytest.mark.parametrize("later", [MINUTE, 30 * DAY, FAR])
def test_a_duplicate_much_later_changes_nothing(database: Engine, later: float) -> None:
    ask(database, "a")
    say(database, "first", "A", 60, 60)
    say(database, "second", "B", 120, 120)
    say(database, "first", "A", later, later)
    with transaction(database) as connection:
        assert [row.answer for row in labelled(connection)] == [1]
        rows = connection.execute(select(GivenFeedback.id, GivenFeedback.sequence)).all()
    assert sorted(map(tuple, rows)) == [("first", 1), ("second", 2)]


def test_all_the_times_are_kept(database: Engine) -> None:
    say(database, "f", "A", 120, FAR, 60)
    columns = (GivenFeedback.given_at, GivenFeedback.sent_at, GivenFeedback.arrived_at)
    with transaction(database) as connection:
        assert connection.execute(select(*columns)).one() == (BEGIN + 60, BEGIN + FAR, BEGIN + 60)


@pytest.mark.parametrize("sent", [FAR, EPOCH])
def test_an_absurd_clock_loses_no_question_and_no_answer(database: Engine, sent: float) -> None:
    instances, answers = {"instances": [QUESTION]}, {"predictions": [{"letter": "A", "confidence": 0.75}]}
    tell(database, INFERENCE_REQUEST, "a", instances, 10, sent, 10)
    tell(database, INFERENCE_RESPONSE, "a", answers, 12, sent + 1, 12)
    with transaction(database) as connection:
        assert first_answer(connection, "7") == BEGIN + 12
        assert count_answers(connection, "7", BEGIN, BEGIN + MINUTE) == 1
        evidence = arm(connection, "7", BEGIN, BEGIN + MINUTE, BEGIN + HOUR, 60.0)
    assert (evidence.requests, evidence.failures) == (1, 0)
    assert evidence.latencies == {39: 1}, "one second, by the logger's own clock"


def test_what_is_marked_as_a_test_counts_for_nothing(database: Engine) -> None:
    for number in range(3):
        ask(database, f"real{number}", at=10.0 * number)
        ask(database, f"test{number}", at=-10.0 * number, letters="AB", test=True)
        tell(database, FEEDBACK, f"f{number}", {"answer_id": f"real{number}", "answer": "A"}, 60, 60, 60)
        tell(database, FEEDBACK, f"t{number}", {"answer_id": f"test{number}/1", "answer": "A"}, 60, 60, 60)
    since, until = BEGIN - DAY, BEGIN + DAY
    with transaction(database) as connection:
        assert count_answers(connection, "7", since, until) == 3
        assert sum(len(chunk.letters) for chunk in window_chunks(connection, "7", since, until)) == 3
        assert first_answer(connection, "7") == BEGIN + 1
        assert [row.answer_id for row in labelled(connection)] == ["real0/0", "real1/0", "real2/0"]
        assert len(list(recent(connection, since, until, 100))) == 3
        assert label_count(connection, since, until) == 3
        evidence = arm(connection, "7", since, until, until, 60.0)
        assert (evidence.requests, evidence.letters, evidence.labelled) == (3, {"A": 3}, 3)
        assert outcome(connection, "/s", "t0", "test0/1", "A").reason == "test-traffic"


def test_an_answer_counts_once_however_often_it_got_feedback(database: Engine) -> None:
    ask(database, "asked", at=10.0)
    for number, id in enumerate(["asked", "asked", "asked/0"]):
        tell(database, FEEDBACK, f"f{number}", {"answer_id": id, "answer": "A"}, 60, 60, 60)
    with transaction(database) as connection:
        assert label_count(connection, BEGIN - DAY, BEGIN + DAY) == 1


KNOWN = KnownAnswer("ABC", "A", "7", None, "B")


@pytest.mark.parametrize(
    ("letter", "recorded", "counts", "answer", "reason"),
    [
        ("A", False, False, None, "pending"),
        ("A", True, False, None, "unknown-answer"),
        ("B", False, False, KNOWN, "pending"),
        ("B", True, True, KNOWN, "counted"),
        ("A", True, False, KNOWN, "superseded"),
        ("D", False, False, KNOWN, "no-such-letter"),
        ("D", True, False, KNOWN, "no-such-letter"),
        ("J", True, True, KnownAnswer("", None, "7", None, "J"), "counted"),
        ("B", True, True, KnownAnswer("ABC", "A", "7", "test", "B"), "test-traffic"),
        ("B", False, False, KnownAnswer("ABC", "A", "7", "test", None), "pending"),
        ("D", True, False, KnownAnswer("ABC", "A", "7", "test", None), "no-such-letter"),
    ],
)
def test_what_becomes_of_feedback(
    letter: str, recorded: bool, counts: bool, answer: KnownAnswer | None, reason: str
) -> None:
    assert judge(letter, recorded, counts, answer).reason == reason


def test_feedback_may_come_before_its_answer(database: Engine) -> None:
    say(database, "f", "B", 5)
    with transaction(database) as connection:
        assert outcome(connection, "/s", "f", "a", "B") == FeedbackOutcome("unknown-answer")
        assert known(connection, "a") is None
    ask(database, "a", at=4.0)
    with transaction(database) as connection:
        assert outcome(connection, "/s", "f", "a", "B") == FeedbackOutcome("counted", "ABC", "A", "7", "B")
        assert known(connection, "a/0") == KnownAnswer("ABC", "A", "7", None, "B")
        assert known(connection, "a/1") is None
        assert outcome(connection, "/s", "f", "a/1", "B").reason == "unknown-answer"


def test_a_letter_that_the_question_does_not_have_leaves_no_row(database: Engine) -> None:
    ask(database, "a")
    with pytest.raises(BadEventError, match="answer: the question has the letters A to C, found 'D'"):
        say(database, "f", "D", 60)
    with transaction(database) as connection:
        assert connection.execute(select(GivenFeedback.id)).all() == []
        assert outcome(connection, "/s", "f", "a", "D").reason == "no-such-letter"


def test_binary_questions_have_unknown_letters(database: Engine) -> None:
    tensors = [{"name": "question", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 0}}]
    tell(database, INFERENCE_REQUEST, "a", {"inputs": tensors}, 1, 1, 1)
    say(database, "f", "J", 60)
    with transaction(database) as connection:
        assert outcome(connection, "/s", "f", "a", "J") == FeedbackOutcome("counted", "", None, "7", "J")


def test_the_migration_keeps_what_there_was(database_url: str) -> None:
    from functions.database import engine

    made = engine(database_url)
    migrate(made, "0003")
    with made.begin() as connection:
        connection.execute(text("INSERT INTO requests VALUES ('/s', 'a', '7', 10)"))
        connection.execute(text("INSERT INTO questions VALUES ('/s', 'a', 0, 2, '{\"question\": \"?\"}')"))
        for id, letter, at in (("f1", "A", 20), ("f2", "B", 30)):
            connection.execute(text(f"INSERT INTO feedback VALUES ('/s', '{id}', 'a', 0, '{letter}', {at})"))
    migrate(made)
    with transaction(made) as connection:
        assert [row.answer for row in labelled(connection)] == [1]
        assert connection.execute(text("SELECT arrived_at, sequence FROM feedback WHERE id = 'f1'")).one() == (20, 0)
    made.dispose()
