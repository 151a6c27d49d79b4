"""What the database knows of a trace, in SQLite; the statements are SQLAlchemy's, without anything of a dialect."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from common.event_types import FEEDBACK, INFERENCE_REQUEST, INFERENCE_RESPONSE
from common.names import MODEL
from functions.collect.parsing import parse_event
from functions.collect.store import record
from functions.database import engine, transaction
from functions.dead_letters import store as letters
from functions.dead_letters.parsing import DeadLetter
from functions.drift.tables import DriftCheck
from functions.events import Event
from functions.migrate import migrate
from functions.retrain.tables import RetrainRun
from functions.rollout.tables import RolloutDecision
from mcqa.readmodels import traces

pytestmark = pytest.mark.usefixtures("processes")

TRACE, OTHER = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
NOW = 1_790_000_000.0


def parent(trace: str) -> str:
    return f"00-{trace}-b7ad6b7169203331-01"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    url = f"sqlite:///{tmp_path}/loop.db"
    made = engine(url)
    migrate(made)
    for number, trace in enumerate((TRACE, OTHER)):
        fill(made, trace, number, NOW + 100 * number)
    made.dispose()
    return {"MCQA_DATABASE_URL": url}


def fill(made: Engine, trace: str, number: int, at: float) -> None:
    id = str(uuid.UUID(trace))
    asked = {"instances": [{"question": f"Question {number}?", "choices": ["1", "2"]}]}
    answered = {"predictions": [{"letter": "B"}], "model_version": "7"}
    label = {"answer_id": id, "answer": "A"}
    with transaction(made) as connection:
        for place, (type, body) in enumerate(
            ((INFERENCE_REQUEST, asked), (INFERENCE_RESPONSE, answered), (FEEDBACK, label))
        ):
            event = Event(id, "/logger", type, data=json.dumps(body).encode())
            record(connection, parse_event(event, at + place))
        reason = {"reason": "because", "reason_code": "no-change", "initiated_by": "schedule"}
        check = {"model": MODEL, "sequence": number, "version": "7", "checked_at": at + 3, "window_end": at, "n": 1}
        connection.execute(insert(DriftCheck).values(
            **check, **reason, verdict="stable", alarm=False, document={}, traceparent=parent(trace)
        ))  # fmt: skip
        decision = {"model": MODEL, "at": at + 5, "phase": "canary", "action": "wait", "champion": "7", "percent": 1}
        connection.execute(insert(RolloutDecision).values(**decision, **reason, generation="1", trace=parent(trace)))
        run = {"model": MODEL, "champion": "7", "drift_source": "/x", "drift_id": "1", "since": 0.0, "attempt": 1}
        run |= {"key": trace, "traceparent": parent(trace), "state": "succeeded", "run_id": f"run{number}"}
        run |= {"parameters": {}, "error": "", "created_at": at + 4, "updated_at": at, "announced": 0}
        connection.execute(insert(RetrainRun).values(**run, **reason))
        letter = DeadLetter(trace * 2, "/s", "x", "refused", "", 422, "no", {"traceparent": parent(trace)}, b"")
        letters.record(connection, letter, at + 6)


def test_a_trace_is_told_in_its_order(environ: dict[str, str]) -> None:
    found = [(row["kind"], row["key"], row["code"], row["text"]) for row in traces.rows(environ, TRACE)]
    id = str(uuid.UUID(TRACE))
    assert found == [
        ("request", id, "", "Question 0?"),
        ("answer", id, "B", ""),
        ("feedback", id, "A", ""),
        ("check", "0", "stable", "because"),
        ("run", "run0", "succeeded", "because"),
        ("decision", "1", "no-change", "because"),
        ("dead-letter", TRACE[:12], "422", "no"),
    ]


def test_a_trace_that_nobody_knows_has_no_rows(environ: dict[str, str]) -> None:
    assert traces.rows(environ, "f" * 32) == []


def test_what_came_last_is_first(environ: dict[str, str]) -> None:
    found = traces.recent(environ, 5)
    assert [(row["kind"], row["trace"]) for row in found] == [
        ("dead-letter", OTHER), ("decision", OTHER), ("run", OTHER), ("check", OTHER), ("dead-letter", TRACE)
    ]  # fmt: skip
