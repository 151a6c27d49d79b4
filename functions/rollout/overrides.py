"""The operator's override of a rollout (promote, hold or abort): stored here, read at the next reconcile."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from functions.database import put
from functions.rollout.state import Override
from functions.rollout.tables import RolloutOverride


def read(connection: Connection, model: str) -> Override | None:
    row = connection.execute(select(RolloutOverride.__table__).where(RolloutOverride.model == model)).one_or_none()
    return None if row is None else Override(row.action, row.challenger, row.by)


def write(connection: Connection, model: str, override: Override, now: float) -> None:
    """The newest override counts."""
    values = {"action": override.action, "challenger": override.challenger, "by": override.by, "at": now}
    put(connection, RolloutOverride, {"model": model, **values})


def clear(connection: Connection, model: str) -> bool:
    """Whether there was one."""
    gone = connection.execute(
        delete(RolloutOverride).where(RolloutOverride.model == model).returning(RolloutOverride.model)
    )
    return gone.first() is not None
