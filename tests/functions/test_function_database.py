"""What the functions keep and ask, on both of the loop's databases: SQLite, and a real PostgreSQL where installed."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from common.errors import UnavailableError
from common.event_types import FEEDBACK, INFERENCE_REQUEST, INFERENCE_RESPONSE
from functions.collect.parsing import parse_event
from functions.collect.queries import labelled
from functions.collect.store import record
from functions.database import connect, engine, transaction
from functions.dead_letters import store as dead_letters
from functions.dead_letters.parsing import dead_letter
from functions.drift.queries import first_answer, window_chunks
from functions.drift.reference import summarise
from functions.drift.window import Window
from functions.events import Event
from functions.migrate import migrate
from functions.rollout.analysis import analyse
from functions.rollout.evidence import Exchange, observe
from functions.rollout.queries import arm, step_evidence
from functions.rollout.state import StepRecord
from functions.schema import metadata

NOW = 10_000.0
QUESTION = {"question": "nul \x00 and € ?", "choices": ["1", "2", "3"]}


def iso(at: float) -> str:
    return f"1970-01-01T00:{int(at) // 60:02d}:{at % 60:09.6f}Z"


def event(type: str, id: str, at: float, data: Any, version: str | None = "7") -> Event:
    extensions = {"annotations": json.dumps({"coding-mcqa/model-version": version})} if version else {}
    return Event(id, "/logger", type, iso(at), None, "application/json", extensions, json.dumps(data).encode())


def asked(id: str, at: float, version: str | None = "7", count: int = 1) -> Event:
    return event(INFERENCE_REQUEST, id, at, {"instances": [QUESTION] * count}, version)


def answered(id: str, at: float, letters: str = "A", version: str = "7", confidence: float = 0.75) -> Event:
    facts = {"confidence": confidence, "entropy": 0.5, "margin": 0.25, "letter_mass": 1.0, "prompt_tokens": 40}
    return event(INFERENCE_RESPONSE, id, at, {"predictions": [{"letter": x, **facts} for x in letters]}, version)


def feedback(id: str, at: float, answer_id: str, answer: Any) -> Event:
    return event(FEEDBACK, id, at, {"answer_id": answer_id, "answer": answer}, None)


def tell(database: Engine, *events: Event) -> list[bool]:
    new = []
    for e in events:
        facts = parse_event(e, NOW)
        with transaction(database) as connection:
            new.append(record(connection, facts))
    return new


def rows(database: Engine) -> dict[str, list[Any]]:
    with database.connect() as connection:
        tables = ("requests", "responses", "questions", "answers", "feedback")
        return {t: sorted(map(repr, connection.execute(text(f"SELECT * FROM {t}")))) for t in tables}


def test_the_migrations_make_the_models_and_can_run_again(database: Engine) -> None:
    migrate(database)
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata()) == []


def test_migrations_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    failures = []

    def run(url: str, start: threading.Barrier) -> None:
        start.wait()
        try:
            migrate(engine(url))
        except Exception as error:  # noqa: BLE001 - reported by the assertion below, not lost with its thread
            failures.append(error)

    # Several files: the moment at which SQLite would refuse the second is short.
    for number in range(8):
        start = threading.Barrier(4)
        threads = [threading.Thread(target=run, args=(f"sqlite:///{tmp_path}/{number}.db", start)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_events_in_any_order_and_any_number_of_times_leave_the_same_rows(database: Engine) -> None:
    events = [
        e
        for i in range(6)
        for e in (
            asked(f"e{i}", 10.0 + i, count=2),
            answered(f"e{i}", 11.0 + i, "AB"),
            feedback(f"f{i}", 5.0 + i, f"e{i}/1", "B"),
        )
    ]
    assert all(tell(database, *events))
    whole = rows(database)
    assert {name: len(actual) for name, actual in whole.items()} == {
        "requests": 6,
        "responses": 6,
        "questions": 12,
        "answers": 12,
        "feedback": 6,
    }
    with database.begin() as connection:
        for name in whole:
            connection.execute(text(f"DELETE FROM {name}"))
    twice = events * 2
    random.Random(1).shuffle(twice)
    assert sum(tell(database, *twice)) == len(events)
    assert rows(database) == whole


def test_a_window_is_what_drift_takes(database: Engine) -> None:
    tell(database, *(answered(f"e{i}", 100.0 + i, "AB", confidence=i / 10) for i in range(10)))
    tell(database, answered("other", 105.0, version="8"))
    tell(database, event(INFERENCE_RESPONSE, "bare", 105.0, {"predictions": [{"letter": "C"}]}))
    with transaction(database) as connection:
        chunks = list(window_chunks(connection, "7", 102.0, 108.0, chunk=5))
        assert first_answer(connection, "7") == 100.0
        assert first_answer(connection, "9") is None
    assert [len(c.letters) for c in chunks] == [5, 5, 3]
    assert sorted(x for c in chunks for x in c.features["confidence"] if x is not None) == sorted(
        [i / 10 for i in range(2, 8)] * 2
    )
    names = list(chunks[0].features)
    reference = summarise({name: np.linspace(0, 1, 50).tolist() for name in names}, ["A"] * 50)
    drift = Window(reference)
    for c in chunks:
        drift.add(cast("Any", c.features), c.letters)
    summary = drift.summary()
    assert (summary.n, summary.invalid, summary.letters) == (13, 5, {"A": 6, "B": 6, "C": 1})


def test_evidence_is_what_rollout_takes(database: Engine) -> None:
    tell(
        database,
        *(e for i in range(4) for e in (asked(f"ok{i}", 10.0 + i), answered(f"ok{i}", 10.5 + i, "AB"[i % 2]))),
        feedback("f0", 20.0, "ok0", "A"),
        feedback("f1", 20.0, "ok1/0", 0),  # chosen was B
        feedback("f2", 20.0, "ok2", "A"),
        feedback("f2-corrected", 21.0, "ok2", "C"),
        feedback("f2-late", 19.0, "ok2", "B"),
        feedback("f3", 20.0, "ok3", "J"),  # the question has three choices
        asked("lost", 15.0),
        asked("slow", 16.0),
        answered("slow", 46.5),
        asked("young", 95.0),
        asked("unattributed", 17.0, None),
        answered("unattributed", 18.0),
        asked("other", 15.0, "8"),
    )
    with transaction(database) as connection:
        evidence = arm(connection, "7", 0.0, 100.0, now=100.0, deadline=30.0)
    expected = [
        Exchange(10.0, 10.5, "A", 0.75, True),
        Exchange(11.0, 11.5, "B", 0.75, False),
        Exchange(12.0, 12.5, "A", 0.75, False),
        Exchange(13.0, 13.5, "B", 0.75, None),
        Exchange(15.0),
        Exchange(16.0, 46.5),
        Exchange(95.0),
    ]
    assert evidence == observe(expected, 100.0, 30.0)
    assert (evidence.requests, evidence.failures, evidence.labelled, evidence.correct) == (6, 2, 3, 1)


def test_a_request_counts_once_and_each_of_its_answers_too(database: Engine) -> None:
    tell(database, asked("e", 10.0, count=3), answered("e", 10.5, "ABB"))
    tell(database, feedback("f1", 12.0, "e/1", "B"), feedback("f2", 12.0, "e/2", "C"))
    with transaction(database) as connection:
        evidence = arm(connection, "7", 0.0, 60.0, now=60.0, deadline=30.0)
    assert (evidence.requests, evidence.failures, sum(evidence.latencies.values())) == (1, 0, 1)
    assert (evidence.letters, evidence.labelled, evidence.correct) == ({"A": 1, "B": 2}, 2, 1)


def test_each_step_ends_where_the_next_begins(database: Engine) -> None:
    for i in range(30):
        tell(database, asked(f"a{i}", 10.0 + i), asked(f"b{i}", 10.0 + i, "8"))
    steps = [StepRecord(10, 10.0), StepRecord(25, 20.0)]
    with transaction(database) as connection:
        evidence = step_evidence(connection, steps, "7", "8", now=100.0, deadline=30.0)
    assert [(s.percent, s.since, s.champion.requests, s.challenger.requests) for s in evidence] == [
        (10, 10.0, 10, 10),
        (25, 20.0, 20, 20),
    ]
    assert analyse(evidence, 100.0).verdict in ("fail", "inconclusive")


def test_labelled_questions_for_retraining(database: Engine) -> None:
    tell(database, asked("a", 10.0, count=2), answered("a", 11.0, "AB"), asked("b", 12.0), asked("c", 13.0))
    tell(database, feedback("fa", 20.0, "a/1", "C"), feedback("fb", 9.0, "b", 1), feedback("fc", 20.0, "c", "D"))
    with transaction(database) as connection:
        actual = list(labelled(connection))
        assert [x.answer_id for x in labelled(connection, since=11.0)] == ["b/0"]
    assert [(x.answer_id, x.answer, x.chosen, x.version, x.at) for x in actual] == [
        ("a/1", 2, 1, "7", 10.0),
        ("b/0", 1, None, "7", 12.0),
    ]
    assert actual[0].to_dict() == {**QUESTION, "id": "a/1", "answer": 2}


def test_dead_letters_are_kept_listed_and_marked(database: Engine) -> None:
    added = {"knativeerrordest": "http://collect", "knativeerrorcode": "400", "knativeerrordata": "bm90IEpTT04="}
    dead = Event("e", "/s", "t", None, None, "application/json", {**added, "traceparent": "00-a"}, b"\x00\xff")
    with transaction(database) as connection:
        dead_letters.record(connection, dead_letter(dead), 5.0)
        dead_letters.record(connection, dead_letter(Event("e2", "/s", "t")), 6.0)
        assert [row.id for row in dead_letters.letters(connection)] == ["e2", "e"]
        row = dead_letters.letters(connection)[1]
        assert (row.destination, row.code, row.reason, row.data) == ("http://collect", 400, "not JSON", b"\x00\xff")
        assert row.attributes == {
            "id": "e",
            "source": "/s",
            "type": "t",
            "datacontenttype": "application/json",
            "traceparent": "00-a",
        }
        assert dead_letters.find(connection, row.key[:10]) == row
        assert dead_letters.find(connection, "%") is None
        assert dead_letters.mark(connection, row.key, "replayed")
        assert not dead_letters.mark(connection, "0" * 64, "replayed")
        assert [r.id for r in dead_letters.letters(connection)] == ["e2"]
        assert [r.id for r in dead_letters.letters(connection, "replayed")] == ["e"]
        dead_letters.record(connection, dead_letter(dead), 7.0)  # refused again
        second = dead_letters.find(connection, row.key)
        assert second is not None
        assert (second.state, second.times, second.first_at, second.last_at) == ("open", 2, 5.0, 7.0)
        assert len(dead_letters.letters(connection, None, limit=1)) == 1


def test_a_database_without_tables_says_what_to_run(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("DROP TABLE requests"))
    with pytest.raises(UnavailableError, match=r"python -m functions\.migrate"), transaction(database) as connection:
        record(connection, parse_event(asked("e", 1.0), NOW))


def test_a_database_that_is_away_is_unavailable() -> None:
    with (
        pytest.raises(UnavailableError, match="the database is not available"),
        transaction(engine("postgresql://mcqa@127.0.0.1:1/none")) as connection,
    ):
        connection.execute(text("SELECT 1"))


def test_a_query_to_a_machine_that_is_gone_ends(postgresql_url: str) -> None:
    with transaction(engine(postgresql_url)) as connection:
        driver: Any = connection.connection.driver_connection
        used = driver.info.get_parameters()
    assert int(used["tcp_user_timeout"]) <= 60_000
    assert int(used["keepalives_idle"]) + int(used["keepalives_interval"]) * int(used["keepalives_count"]) <= 60


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    made = engine(f"sqlite:///{tmp_path}/loop.db")
    migrate(made)
    with sqlite3.connect(tmp_path / "loop.db") as writer:
        writer.execute("BEGIN IMMEDIATE")
        with transaction(made) as connection:
            assert list(labelled(connection)) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [("", "MCQA_DATABASE_URL is not set"), ("loop.db", "not a database URL"), ("mysql://h/d", "not a database URL")],
)
def test_a_bad_url_is_named_without_showing_it(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        connect({"MCQA_DATABASE_URL": url} if url else {})
