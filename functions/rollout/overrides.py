"""The operator's override of a rollout (promote, hold or abort): stored here, read at the next reconcile."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, select, update

from functions.database import insert_once, put
from functions.rollout.state import Override
from functions.rollout.tables import RolloutOverride


def read(connection: Connection, model: str) -> Override | None:
    row = connection.execute(select(RolloutOverride.__table__).where(RolloutOverride.model == model)).one_or_none()
    return None if row is None else Override(row.action, row.challenger, row.by, row.at)


def write(connection: Connection, model: str, override: Override) -> None:
    """The newest override counts."""
    put(connection, RolloutOverride, _values(model, override))


def replace(connection: Connection, model: str, override: Override, seen: float | None) -> bool:
    """Writes it in place of the one of the time `seen` (None: of none); False where another is there by now."""
    values = _values(model, override)
    if seen is None:
        return insert_once(connection, RolloutOverride, values)
    same = (RolloutOverride.model == model, RolloutOverride.at == seen)
    return connection.execute(update(RolloutOverride).where(*same).values(values)).rowcount > 0


def clear(connection: Connection, model: str, seen: float | None = None) -> bool:
    """Whether there was one (of the time `seen`, where it is given)."""
    same = [RolloutOverride.model == model, *([] if seen is None else [RolloutOverride.at == seen])]
    gone = connection.execute(delete(RolloutOverride).where(*same).returning(RolloutOverride.model))
    return gone.first() is not None


def _values(model: str, override: Override) -> dict[str, Any]:
    return {
        "model": model,
        "action": override.action,
        "challenger": override.challenger,
        "by": override.by,
        "at": override.at,
    }
