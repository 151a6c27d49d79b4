"""Accepted baselines in the database: which is in force, and an operator's override, stored together with its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, or_, select, update

from common.errors import UnavailableError
from functions.database import insert_once, transaction
from functions.drift import acceptance
from functions.drift.decision import CheckResult, State
from functions.drift.queries import window_chunks
from functions.drift.reference import Reference, parse
from functions.drift.settings import Settings
from functions.drift.store import PreviousState, append, last_alarm, last_suspicion, previous_state
from functions.drift.tables import DriftBaseline
from functions.sink import traceparent

ATTEMPTS = 5
"""How often an override is tried when checks are stored at the same moments; each takes part of a second."""

_COLUMNS = [column for column in DriftBaseline.__table__.columns if column.name != "reference"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted: check `sequence` records it. `n` answers within [since, until), in Unix seconds."""

    sequence: int
    version: str
    n: int
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back: check `sequence` records it. `baseline` is the one in force now, None for reference.json."""

    sequence: int
    version: str
    undone: int
    baseline: int | None


def in_force(connection: Connection, model: str, version: str, check: int | None = None) -> Row[Any] | None:
    """The accepted baseline of `version`, without its summary; None where its reference.json counts.

    `check`: the one that this check was measured against.
    """
    statement = select(*_COLUMNS).where(DriftBaseline.model == model, DriftBaseline.version == version)
    if check is None:
        statement = statement.where(DriftBaseline.undone.is_(None))
    else:
        later = or_(DriftBaseline.undone.is_(None), DriftBaseline.undone > check)
        statement = statement.where(DriftBaseline.sequence < check, later)
    return connection.execute(statement.order_by(DriftBaseline.sequence.desc()).limit(1)).first()


def reference(connection: Connection, model: str, sequence: int) -> Reference:
    """The summary of an accepted baseline."""
    same = (DriftBaseline.model == model) & (DriftBaseline.sequence == sequence)
    return parse(connection.execute(select(DriftBaseline.reference).where(same)).scalar_one())


def differs_since(connection: Connection, model: str, state: State) -> float | None:
    """Since when the answers differ from the baseline, by the last alarm or suspicion; None where they do not."""
    if state.alarmed_at is not None:
        row = last_alarm(connection, model)
    elif state.streaks:
        row = last_suspicion(connection, model, state.version)
    else:
        return None
    if row is None or row.version != state.version:
        return None
    since = row.document.get("drift_since")
    return float(row.window_start if since is None else since)


def proposed_since(connection: Connection, model: str, state: State) -> float | None:
    """From when on answers are accepted where nobody says: when they began to differ, else the open window's begin."""
    differs = differs_since(connection, model, state)
    return state.since if differs is None else differs


def accept(engine: Engine, settings: Settings, version: str, since: float | None, by: str, now: float) -> Accepted:
    """Makes the answers of `version` since `since` (None: `proposed_since`) its baseline from the next check on.

    TooFewAnswersError, and UnavailableError without the database.
    """
    until = now - settings.settle
    needed = settings.config.min_reference
    with transaction(engine) as connection:
        if since is None:
            since = proposed_since(
                connection, settings.model, previous_state(connection, settings.model, version).state
            )
        begin = until if since is None else since
        chunks = window_chunks(connection, version, begin, until)
        measured = acceptance.measure_baseline(version, ((c.features, c.letters) for c in chunks), needed)
    values = {
        "version": version,
        "accepted_at": now,
        "accepted_by": acceptance.named(by),
        "since": begin,
        "until": until,
        "n": measured.n,
        "reference": measured.reference.to_json(),
    }

    def record(connection: Connection, sequence: int) -> None:
        insert_once(connection, DriftBaseline, {"model": settings.model, "sequence": sequence, **values})

    result = acceptance.accepted(version, measured.n, begin, until, by)
    sequence = _append(engine, settings.model, version, lambda _: result, record, now)
    return Accepted(sequence, version, measured.n, begin, until)


def undo(engine: Engine, settings: Settings, version: str, by: str, now: float, expected: int | None = None) -> Undone:
    """Takes the accepted baseline of `version` back: the one before it counts again, or its reference.json.

    Only if it is still the one that check `expected` accepted (None: the one in force at the beginning), else
    OtherBaselineError: in between, somebody else may accept or take back. NothingAcceptedError without any, and
    UnavailableError without the database.
    """
    with transaction(engine) as connection:
        current = in_force(connection, settings.model, version)
    if current is None and expected is None:
        raise acceptance.NothingAcceptedError(version)
    number = int(current.sequence) if expected is None and current is not None else int(expected or 0)
    _require(current, version, number)
    until = now - settings.settle

    def record(connection: Connection, sequence: int) -> None:
        # Whoever changes the baseline needs a check's number, and this one is taken: what is read here stays.
        _require(in_force(connection, settings.model, version), version, number)
        same = (DriftBaseline.model == settings.model) & (DriftBaseline.sequence == number)
        connection.execute(update(DriftBaseline).where(same).values(undone=sequence))

    def result(previous: PreviousState) -> CheckResult:
        return acceptance.undone(version, number, previous.state.since, until, by)

    sequence = _append(engine, settings.model, version, result, record, now)
    with transaction(engine) as connection:
        before = in_force(connection, settings.model, version)
    return Undone(sequence, version, number, None if before is None else int(before.sequence))


def _require(current: Row[Any] | None, version: str, number: int) -> None:
    """OtherBaselineError unless the baseline in force is that of check `number`."""
    if current is None or current.sequence != number:
        raise acceptance.OtherBaselineError(version, number, None if current is None else int(current.sequence))


def _append(
    engine: Engine,
    model: str,
    version: str,
    result: Callable[[PreviousState], CheckResult],
    record: Callable[[Connection, int], None],
    now: float,
) -> int:
    """Stores the check and what it records in one transaction; its number.

    The check comes first: its number is what a check at the same moment wants too, and who gets it is first.
    """
    for _ in range(ATTEMPTS):
        with transaction(engine) as connection:
            previous = previous_state(connection, model, version)
        sequence, check = previous.sequence + 1, result(previous)
        trace = traceparent("drift", model, version, str(check.reason.code), sequence, now)
        with transaction(engine) as connection:
            if append(connection, model, sequence, check, None, trace, now):
                record(connection, sequence)
                return sequence
    raise UnavailableError("drift checks were stored at the same moment; try again")
