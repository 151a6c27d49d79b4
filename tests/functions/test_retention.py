"""What is too old is deleted, whole and nothing else; on both of the loop's databases."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, insert, select

from common.errors import SettingError
from functions.clocks import EventTimes
from functions.collect.parsing import FeedbackEvent, RequestEvent, ResponseEvent
from functions.collect.payloads import AnswerFeatures
from functions.collect.store import record
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest, LoggedResponse
from functions.database import Base, transaction
from functions.dead_letters import store as dead_letters
from functions.dead_letters.parsing import DeadLetter
from functions.dead_letters.tables import DeadLetterRecord
from functions.notify.tables import SentNotice
from functions.retention import DAY, forget, period

QUESTION = {"question": "?", "choices": ["1", "2"]}
ANSWER = AnswerFeatures("A", 0.9, 0.1, 0.8, 1.0, 40)
PAYLOAD = (LoggedRequest, LoggedResponse, AskedQuestion, GivenAnswer)


def said(at: float) -> EventTimes:
    return EventTimes(at, at, at, at)


def exchange(database: Engine, id: str, at: float, version: str | None = "7", logged: bool = True) -> None:
    with transaction(database) as connection:
        if logged:
            record(connection, RequestEvent("/logger", id, version, said(at), (QUESTION, QUESTION)))
        record(connection, ResponseEvent("/logger", id, version, said(at + 1), (ANSWER, ANSWER)))
        record(connection, FeedbackEvent("/people", f"f-{id}", id, 1, "B", said(at + 2)))


def ids(database: Engine, table: type[Base]) -> set[str]:
    with transaction(database) as connection:
        return set(connection.scalars(select(table.__table__.c.id)))


def test_old_exchanges_go_whole_and_young_ones_stay(database: Engine) -> None:
    for n, version in enumerate(("6", "7", None, "7", "10")):
        exchange(database, f"old{n}", 10.0 + n, version)
        exchange(database, f"young{n}", 100.0 + n, version)
    exchange(database, "unlogged", 20.0, logged=False)
    exchange(database, "edge", 50.0)
    assert forget(database, 50.0, batch=2) == (5 * (1 + 1 + 2 + 2) + 3 + 6, True)
    young = {f"young{n}" for n in range(5)} | {"edge"}
    for table in PAYLOAD:
        assert ids(database, table) == young, table
    assert ids(database, GivenFeedback) == {f"f-{id}" for id in young}
    assert forget(database, 50.0) == (0, True)


def test_dead_letters_and_notices_go_too(database: Engine) -> None:
    with transaction(database) as connection:
        for id, at in (("old", 10.0), ("young", 60.0)):
            letter = DeadLetter(id, "/s", id, "t", "http://collect", 400, "no JSON", {"id": id}, b"{")
            dead_letters.record(connection, letter, at)
            notice = {"source": "/s", "id": id, "type": "t", "target": "x", "key": id, "title": "", "body": ""}
            connection.execute(insert(SentNotice).values(**notice, sent_at=at))
    assert forget(database, 50.0) == (2, True)
    assert ids(database, DeadLetterRecord) == ids(database, SentNotice) == {"young"}


def test_what_takes_too_long_goes_on_next_time(database: Engine) -> None:
    for n in range(6):
        exchange(database, f"e{n}", float(n))
    calls = 0
    done = False
    while not done:
        _, done = forget(database, 50.0, seconds=0.0, batch=2)
        calls += 1
        with transaction(database) as connection:
            left = connection.scalar(select(func.count()).select_from(LoggedRequest))
        assert left == max(0, 6 - 2 * calls)
        oldest = {f"e{n}" for n in range(2 * calls, 6)}
        assert ids(database, LoggedRequest) == oldest
    assert calls > 3


@pytest.mark.parametrize(
    ("given", "arrived", "kept"), [(10.0, 10.0, False), (10.0, 60.0, True), (60.0, 0.0, True), (60.0, 60.0, True)]
)
def test_feedback_goes_when_it_is_old_by_every_clock(
    database: Engine, given: float, arrived: float, kept: bool
) -> None:
    """0 is the arrival of what functions of the release before recorded behind the migration."""
    with transaction(database) as connection:
        record(connection, FeedbackEvent("/people", "f", "a", 0, "B", EventTimes(given, given, arrived, arrived)))
    assert forget(database, 50.0) == (int(not kept), True)


@pytest.mark.parametrize(("value", "seconds"), [("", 90 * DAY), ("7", 7 * DAY), ("0", None), ("1.5", 1.5 * DAY)])
def test_the_period(value: str, seconds: float | None) -> None:
    assert period({"MCQA_RETENTION_DAYS": value}) == seconds


@pytest.mark.parametrize("value", ["0.5", "-1", "nan", "a week"])
def test_a_bad_period_is_refused(value: str) -> None:
    with pytest.raises(SettingError, match="MCQA_RETENTION_DAYS must be"):
        period({"MCQA_RETENTION_DAYS": value})
