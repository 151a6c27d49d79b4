"""Retrainings in the database. Every update names the state it starts from, so that of two at once one happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update

from functions.database import insert_once
from functions.reasons import InitiatedBy
from functions.retrain.decision import ACTIVE, FINISHED, DetectedDrift, Retraining, RetrainRequest
from functions.retrain.reasons import ReasonCode
from functions.retrain.tables import RetrainRun


def run_name(key: str) -> str:
    """The display name of a retraining's runs, by which they are found again."""
    return f"retrain-{key[:16]}"


def insert_waiting(
    connection: Connection,
    requested: DetectedDrift | RetrainRequest,
    initiated_by: InitiatedBy,
    source: str,
    id: str,
    trace: str,
    now: float,
) -> bool:
    """Stores that the event (source, id) requests a retraining; False when it is known."""
    drift = isinstance(requested, DetectedDrift)
    row = {
        "key": requested.key,
        "model": requested.model,
        "champion": requested.version,
        "drift_source": source,
        "drift_id": id,
        "since": requested.since,
        "reason": requested.reason,
        "traceparent": trace,
        "state": "waiting",
        "reason_code": str(ReasonCode.DRIFT_DETECTED if drift else ReasonCode.REQUESTED),
        "initiated_by": str(initiated_by),
        "attempt": 0,
        "parameters": {},
        "error": "",
        "created_at": now,
        "updated_at": now,
        "announced": 0,
    }
    return insert_once(connection, RetrainRun, row)


def known(connection: Connection, model: str) -> list[Retraining]:
    """The input of decide(): all that wait or are active, and the newest that ended."""
    columns = (RetrainRun.key, RetrainRun.state, RetrainRun.champion, RetrainRun.created_at, RetrainRun.finished_at)
    statement = select(*columns, RetrainRun.run_id).where(RetrainRun.model == model)
    going = connection.execute(statement.where(RetrainRun.state.in_(("waiting", *ACTIVE)))).all()
    ended = statement.where(RetrainRun.finished_at.is_not(None)).order_by(RetrainRun.finished_at.desc()).limit(10)
    rows = [*going, *connection.execute(ended).all()]
    return [Retraining(r.key, r.state, r.champion, r.created_at, r.finished_at, r.run_id is not None) for r in rows]


def find(connection: Connection, key: str) -> Row[Any] | None:
    return connection.execute(select(RetrainRun.__table__).where(RetrainRun.key == key)).first()


def active(connection: Connection, model: str) -> Row[Any] | None:
    """The one retraining that has, or may have, a run."""
    statement = select(RetrainRun.__table__).where(RetrainRun.model == model, RetrainRun.state.in_(ACTIVE))
    return connection.execute(statement).first()


def unannounced(connection: Connection, model: str) -> Sequence[Row[Any]]:
    """Retrainings of which an event may not be sent yet, the oldest first."""
    ended = RetrainRun.state.in_(FINISHED) & (RetrainRun.announced < 4)
    statement = select(RetrainRun.__table__).where(RetrainRun.model == model, or_(RetrainRun.state.in_(ACTIVE), ended))
    return connection.execute(statement.order_by(RetrainRun.created_at)).all()


def newest(connection: Connection, model: str, limit: int = 20) -> Sequence[Row[Any]]:
    statement = select(RetrainRun.__table__).where(RetrainRun.model == model)
    return connection.execute(statement.order_by(RetrainRun.created_at.desc()).limit(limit)).all()


def find_by_event(connection: Connection, id: str) -> Row[Any] | None:
    """The retraining that the event with this id requested."""
    return connection.execute(select(RetrainRun.__table__).where(RetrainRun.drift_id == id).limit(1)).first()


def update_unchanged(connection: Connection, row: Row[Any], now: float, **values: Any) -> bool:
    """Sets these columns if the row still has the state, attempt and posted_at that were read; whether it had."""
    same = (
        (RetrainRun.key == row.key)
        & (RetrainRun.state == row.state)
        & (RetrainRun.attempt == row.attempt)
        & RetrainRun.posted_at.is_not_distinct_from(row.posted_at)
    )
    statement = update(RetrainRun).where(same).values(**values, updated_at=now).returning(RetrainRun.key)
    return connection.execute(statement).first() is not None


def mark_announced(connection: Connection, key: str, count: int) -> None:
    statement = update(RetrainRun).where(RetrainRun.key == key, RetrainRun.announced < count)
    connection.execute(statement.values(announced=count))
