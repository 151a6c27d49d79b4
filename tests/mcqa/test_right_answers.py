"""Right answers from the page: one event, in the trace of the answer, and whether it counted."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from loop_parts import sink

from common.errors import SettingError
from common.event_types import FEEDBACK, SOURCE_UI
from functions.database import engine
from functions.migrate import migrate
from mcqa import right_answers
from mcqa.errors import CommandError

pytestmark = pytest.mark.usefixtures("processes")

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_the_page_sends_an_event_of_its_own() -> None:
    id = str(uuid.UUID(TRACE))
    with sink() as broker:
        event = right_answers.send_from_page({"K_SINK": broker.url}, f"{id}/1", "B")
    (sent,) = broker.events
    assert sent.key == (SOURCE_UI, event, FEEDBACK)
    assert sent.data == {"answer_id": f"{id}/1", "answer": "B"}
    assert sent.attributes["traceparent"] == f"00-{TRACE}-{TRACE[:16]}-01"


def test_an_answer_without_a_trace_has_none() -> None:
    with sink() as broker:
        right_answers.send(broker.url, "mine", "A")
    assert "traceparent" not in broker.events[0].attributes


def test_nowhere_to_send_it_and_nobody_to_take_it() -> None:
    with pytest.raises(SettingError):
        right_answers.send_from_page({}, "x", "A")
    with sink() as broker:
        broker.status = 503
        with pytest.raises(CommandError, match="the broker answered 503"):
            right_answers.send(broker.url, "x", "A")


def test_the_outcome_is_read_where_there_is_a_database(tmp_path: Path) -> None:
    assert right_answers.outcome_of_page({}, "event", "x", "A") is None
    url = f"sqlite:///{tmp_path}/loop.db"
    migrate(made := engine(url))
    made.dispose()
    outcome = right_answers.outcome_of_page({"MCQA_DATABASE_URL": url}, "event", "x", "A")
    assert outcome is not None
    assert outcome.reason == "pending"
