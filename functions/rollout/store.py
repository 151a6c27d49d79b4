"""The rollout's memory in the database: its record, its last status, the decision log and webhook deliveries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, or_, select, update

from functions.database import insert_once, put
from functions.rollout import overrides
from functions.rollout.actions import ActionType
from functions.rollout.reasons import ReasonCode
from functions.rollout.state import Rollout, StepRecord
from functions.rollout.tables import RolloutDecision, RolloutRecord, RolloutStatus, WebhookDelivery

Row = Mapping[str, Any]

_PROMOTION = 20
"""Decisions from a passed canary to the moved alias, at most: it has about five."""
MOST = 1_000
"""Decisions of one rollout that are read: a promotion has about twenty."""


def read_record(connection: Connection, model: str) -> Rollout | None:
    row = connection.execute(select(RolloutRecord.__table__).where(RolloutRecord.model == model)).one_or_none()
    if row is None:
        return None
    return Rollout(row.challenger, row.champion, tuple(StepRecord(int(p), float(since)) for p, since in row.steps))


def write_record(connection: Connection, model: str, rollout: Rollout | None) -> None:
    """None forgets it, and its override."""
    if rollout is None:
        connection.execute(delete(RolloutRecord).where(RolloutRecord.model == model))
        overrides.clear(connection, model)
        return
    steps = [[step.percent, step.since] for step in rollout.steps]
    put(connection, RolloutRecord, {
        "model": model, "challenger": rollout.challenger, "champion": rollout.champion, "steps": steps
    })  # fmt: skip


def write_status(connection: Connection, model: str, status: Row) -> None:
    put(connection, RolloutStatus, {"model": model, **status})


def read_status(connection: Connection, model: str) -> Row | None:
    row = connection.execute(select(RolloutStatus.__table__).where(RolloutStatus.model == model)).mappings().first()
    return None if row is None else dict(row)


def last_decision(connection: Connection, model: str) -> Row | None:
    """The newest about a rollout."""
    newest = _decisions(model).where(RolloutDecision.action_type != str(ActionType.DEAD_LETTERS))
    row = connection.execute(newest.order_by(RolloutDecision.number.desc()).limit(1)).mappings().first()
    return None if row is None else dict(row)


def decisions(connection: Connection, model: str, most: int) -> Sequence[Row]:
    """The newest first."""
    newest = _decisions(model).order_by(RolloutDecision.number.desc()).limit(most)
    return [dict(row) for row in connection.execute(newest).mappings()]


def decisions_after(connection: Connection, model: str, number: int) -> Sequence[Row]:
    """Those logged after decision `number`, oldest first."""
    newer = _decisions(model).where(RolloutDecision.number > number).order_by(RolloutDecision.number)
    return [dict(row) for row in connection.execute(newer).mappings()]


def decisions_before(connection: Connection, model: str, number: int | None, most: int) -> Sequence[Row]:
    """Those before decision `number` (None: the newest), newest first."""
    older = _decisions(model).order_by(RolloutDecision.number.desc()).limit(most)
    if number is not None:
        older = older.where(RolloutDecision.number < number)
    return [dict(row) for row in connection.execute(older).mappings()]


def decisions_between(connection: Connection, model: str, first: int, end: int | None) -> Sequence[Row]:
    """From number `first` on, without `end` (None: to the newest), oldest first, at most MOST."""
    some = _decisions(model).where(RolloutDecision.number >= first)
    if end is not None:
        some = some.where(RolloutDecision.number < end)
    some = some.order_by(RolloutDecision.number).limit(MOST)
    return [dict(row) for row in connection.execute(some).mappings()]


def read_decision(connection: Connection, model: str, number: int) -> Row | None:
    row = connection.execute(_decisions(model).where(RolloutDecision.number == number)).mappings().first()
    return None if row is None else dict(row)


def starts(connection: Connection, model: str, until: int | None, most: int) -> Sequence[Row]:
    """The decisions by which rollouts began, up to number `until` (None: the newest), newest first."""
    begun = _decisions(model).where(RolloutDecision.reason_code == str(ReasonCode.CANARY_STARTING))
    if until is not None:
        begun = begun.where(RolloutDecision.number <= until)
    begun = begun.order_by(RolloutDecision.number.desc()).limit(most)
    return [dict(row) for row in connection.execute(begun).mappings()]


def next_start(connection: Connection, model: str, number: int) -> Row | None:
    """The first rollout that began after decision `number`."""
    begun = _decisions(model).where(RolloutDecision.reason_code == str(ReasonCode.CANARY_STARTING))
    begun = begun.where(RolloutDecision.number > number).order_by(RolloutDecision.number).limit(1)
    row = connection.execute(begun).mappings().first()
    return None if row is None else dict(row)


def serving_since(connection: Connection, model: str, champion: str) -> tuple[float, Row] | None:
    """Since when `champion` has served as such, and the decision that made it so: for a promoted version the one that
    let its canary pass.

    None while it does not serve yet, and where that is more than MOST decisions ago.
    """
    columns = (RolloutDecision.number, RolloutDecision.champion, RolloutDecision.reason_code)
    newest = select(*columns).where(RolloutDecision.model == model)
    read = newest.order_by(RolloutDecision.number.desc()).limit(MOST).subquery()
    another = or_(read.c.champion != champion, read.c.reason_code == str(ReasonCode.NO_CHAMPION))
    last = connection.scalar(select(func.max(read.c.number)).where(another))
    if last is None and connection.scalar(select(func.count()).select_from(read)) == MOST:
        return None
    own = _decisions(model).where(RolloutDecision.number > (last or 0), RolloutDecision.champion == champion)
    serves = own.where(RolloutDecision.phase.in_(("promoting", "finished", "idle"))).order_by(RolloutDecision.number)
    first = connection.execute(serves.limit(1)).mappings().first()
    if first is None:
        return None
    passed = _decisions(model).where(
        RolloutDecision.number < first["number"],
        RolloutDecision.number > (last or 0) - _PROMOTION,
        RolloutDecision.challenger == champion,
        RolloutDecision.reason_code.in_((str(ReasonCode.CANARY_PASSED), str(ReasonCode.CANARY_SKIPPED))),
    )
    made = connection.execute(passed.order_by(RolloutDecision.number.desc()).limit(1)).mappings().first()
    return float(first["at"]), dict(made or first)


def append_decision(connection: Connection, model: str, decision: Row) -> Row:
    """The new row, with its number."""
    statement = insert(RolloutDecision).values(model=model, **decision).returning(*RolloutDecision.__table__.columns)
    return dict(connection.execute(statement).mappings().one())


def unannounced(connection: Connection, model: str) -> Sequence[Row]:
    """The decisions whose announcement is still to be sent, oldest first."""
    waiting = _decisions(model).where(RolloutDecision.announces.is_not(None), RolloutDecision.told_at.is_(None))
    return [dict(row) for row in connection.execute(waiting.order_by(RolloutDecision.number)).mappings()]


def mark_announced(connection: Connection, number: int, now: float) -> None:
    connection.execute(update(RolloutDecision).where(RolloutDecision.number == number).values(told_at=now))


def delivered(connection: Connection, delivery: str) -> bool:
    """Whether this webhook call was accepted before."""
    return connection.execute(select(WebhookDelivery.id).where(WebhookDelivery.id == delivery)).first() is not None


def note_delivery(connection: Connection, delivery: str, now: float, older: float) -> bool:
    """Notes it, and forgets those received before `older`; False when it was noted already."""
    connection.execute(delete(WebhookDelivery).where(WebhookDelivery.received_at < older))
    return insert_once(connection, WebhookDelivery, {"id": delivery, "received_at": now})


def plain_json(value: Any) -> Any:
    """The value with None in place of every number that JSON does not have (NaN, infinity)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return value


def _decisions(model: str) -> Select[Any]:
    return select(RolloutDecision.__table__).where(RolloutDecision.model == model)
