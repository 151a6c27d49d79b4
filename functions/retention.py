"""Deletes what people sent after MCQA_RETENTION_DAYS: questions, answers, feedback, dead letters, notifications.

A canary's measurements over time go with the answers that they were made from.

Oldest first and one batch per transaction, so that inserts wait only briefly. What does not fit into one call waits for
the next. Drift checks, rollouts and runs stay: they are figures, and few.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, delete, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from common.environment import number
from common.errors import SettingError
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest, LoggedResponse
from functions.database import distinct_values, transaction
from functions.dead_letters.tables import DeadLetterRecord
from functions.notify.tables import SentNotice
from functions.rollout.tables import RolloutMeasurement

DAY = 86_400.0
BATCH = 500
SECONDS = 30.0


def period(environ: Mapping[str, str]) -> float | None:
    """MCQA_RETENTION_DAYS (90) in seconds; None where everything is kept. SettingError for less than a day.

    Drift windows and canary steps read what is up to some days old.
    """
    days = number(environ, "MCQA_RETENTION_DAYS", 90.0)
    if 0 < days < 1:
        raise SettingError(f"MCQA_RETENTION_DAYS must be 0, which keeps everything, or at least 1, found {days:g}")
    return days * DAY or None


def forget(engine: Engine, before: float, seconds: float = SECONDS, batch: int = BATCH) -> tuple[int, bool]:
    """Deletes what is older than `before` (Unix seconds), for about `seconds`; how many rows, and whether that was all.

    Raises UnavailableError; what was deleted until then stays deleted.
    """
    end = time.monotonic() + seconds
    total = 0
    for delete_some in _STEPS:
        while True:
            with transaction(engine) as connection:
                scanned, deleted = delete_some(connection, before, batch)
            total += deleted
            if scanned < batch:
                break
            if time.monotonic() > end:
                return total, False
    return total, True


def _logged(
    version: InstrumentedAttribute[str | None],
    at: InstrumentedAttribute[float],
    tables: Sequence[Any],
    connection: Connection,
    before: float,
    batch: int,
) -> tuple[int, int]:
    """Deletes the oldest exchanges of some version, by the index on (version, at), from all `tables`."""
    owner = version.class_
    for value in distinct_values(connection, version):
        oldest = select(owner.source, owner.id).where(version == value, at < before).order_by(at).limit(batch)
        ids = defaultdict(set)
        for row in connection.execute(oldest):
            ids[row.source].add(row.id)
        if ids:
            # By source, of which there are few: PostgreSQL uses the index for a list of ids, but not for one of pairs.
            these = [(t, source, some) for t in tables for source, some in ids.items()]
            deleted = (connection.execute(delete(t).where(t.source == s, t.id.in_(some))) for t, s, some in these)
            return batch, sum(result.rowcount for result in deleted)
    return 0, 0


def _dated(
    table: Any, dates: Sequence[InstrumentedAttribute[float]], connection: Connection, before: float, batch: int
) -> tuple[int, int]:
    """Deletes rows of an independent table, those of which every date is older."""
    columns = table.__table__.primary_key.columns
    oldest = select(*columns).where(*(at < before for at in dates)).limit(batch)
    deleted = connection.execute(delete(table).where(tuple_(*columns).in_(oldest))).rowcount
    return deleted, deleted


_STEPS: tuple[Callable[[Connection, float, int], tuple[int, int]], ...] = (
    partial(
        _logged,
        LoggedRequest.version,
        LoggedRequest.requested_at,
        (AskedQuestion, GivenAnswer, LoggedResponse, LoggedRequest),
    ),
    # Exchanges whose request was never logged.
    partial(_logged, GivenAnswer.version, GivenAnswer.answered_at, (LoggedResponse, GivenAnswer)),
    # By its arrival, too: a sender's clock must not delete feedback that has just arrived.
    partial(_dated, GivenFeedback, (GivenFeedback.given_at, GivenFeedback.arrived_at)),
    partial(_dated, DeadLetterRecord, (DeadLetterRecord.last_at,)),
    partial(_dated, SentNotice, (SentNotice.sent_at,)),
    partial(_dated, RolloutMeasurement, (RolloutMeasurement.at,)),
)
