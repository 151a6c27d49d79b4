"""What a canary's analyses measured, kept over its time: how each guard's interval closes on its margin.

A canary is analysed every minute, for days where it is undecided. The pause between two kept measurements grows with
the step's age, so that a step has about a hundred however long it lasts, and its beginning is as fine as its ticks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from functions.rollout.state import StepRecord
from functions.rollout.tables import RolloutMeasurement

SHARE_OF_AGE = 1 / 20
"""The pause between two kept measurements, as a share of the step's age."""

MOST = 2_000
"""Measurements of one rollout that are read: a step of a week has about 250."""

Row = Mapping[str, Any]


def due(last: Row | None, measured: Row, since: float) -> bool:
    """Whether `measured` is to be kept after `last`; `since` is when its step began.

    Always the first of a step and a verdict that changed; a measurement that is dated before the last one, too: then a
    clock was set back.
    """
    same = ("champion", "challenger", "percent", "verdict")
    if last is None or any(last[name] != measured[name] for name in same) or last["at"] < since:
        return True
    pause = measured["at"] - last["at"]
    return bool(pause < 0 or pause >= (measured["at"] - since) * SHARE_OF_AGE)


def keep(connection: Connection, model: str, measured: Row, step: StepRecord) -> None:
    """Adds `measured` where it is due."""
    newest = select(RolloutMeasurement.__table__).where(RolloutMeasurement.model == model)
    last = connection.execute(newest.order_by(RolloutMeasurement.number.desc()).limit(1)).mappings().first()
    if due(dict(last) if last else None, measured, step.since):
        connection.execute(insert(RolloutMeasurement).values(model=model, **measured))


def between(connection: Connection, model: str, since: float, until: float) -> Sequence[Row]:
    """The last `MOST` within [since, until], the oldest first."""
    table = RolloutMeasurement.__table__
    within = (RolloutMeasurement.model == model, RolloutMeasurement.at >= since, RolloutMeasurement.at <= until)
    newest = select(table).where(*within).order_by(RolloutMeasurement.at.desc()).limit(MOST)
    return [dict(row) for row in reversed(connection.execute(newest).mappings().all())]
