"""Which measurements of a canary are kept, on both databases."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from sqlalchemy import Engine

from functions import retention
from functions.database import transaction
from functions.rollout import measurements
from functions.rollout.state import StepRecord

STEP = StepRecord(10, 1000.0)


def measured(at: float, **more: Any) -> dict[str, Any]:
    row = {"at": at, "champion": "1", "challenger": "2", "percent": 10, "verdict": "inconclusive", "measures": []}
    return row | more


def test_a_day_of_a_step_is_about_a_hundred_measurements(database: Engine) -> None:
    with transaction(database) as connection:
        for minute in range(1440):
            measurements.keep(connection, "m", measured(1000.0 + 60 * minute), STEP)
        kept = [row["at"] for row in measurements.between(connection, "m", 0.0, 1e9)]
    assert 80 <= len(kept) <= 130
    assert kept[:10] == [1000.0 + 60 * minute for minute in range(10)], "the beginning is as fine as the ticks"
    pauses = [after - before for before, after in pairwise(kept)]
    assert pauses == sorted(pauses)
    assert max(pauses) <= 86400 / 20 + 60


def test_what_changes_is_kept_at_once() -> None:
    last = measured(5000.0)
    assert not measurements.due(last, measured(5010.0), STEP.since)
    for change in ({"verdict": "fail"}, {"challenger": "3"}, {"champion": "2"}, {"percent": 25}):
        assert measurements.due(last, measured(5010.0, **change), STEP.since)
    assert measurements.due(last, measured(5010.0), 5005.0), "the same step, begun again"
    assert measurements.due(last, measured(4000.0), STEP.since), "a clock that was set back"
    assert measurements.due(None, last, STEP.since)


def test_they_go_with_the_answers_they_were_made_from(database: Engine) -> None:
    with transaction(database) as connection:
        for at in (1000.0, 5000.0):
            measurements.keep(connection, "m", measured(at), STEP)
    assert retention.forget(database, 4000.0) == (1, True)
    with transaction(database) as connection:
        assert [row["at"] for row in measurements.between(connection, "m", 0.0, 1e9)] == [5000.0]
        assert measurements.between(connection, "another", 0.0, 1e9) == []
