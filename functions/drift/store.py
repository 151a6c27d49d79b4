"""Drift checks in the database: the state before, the check after, and the events still to be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Row, select, update

from functions.database import insert_once
from functions.drift.decision import CheckResult, State
from functions.drift.queries import first_answer, window_chunks
from functions.drift.reasons import ReasonCode
from functions.drift.reference import Reference
from functions.drift.tables import DriftCheck
from functions.drift.window import Summary, Window
from functions.sink import digest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MOST_EVENTS = 100
"""Checks announced in one pass: a sink that was unavailable for days catches up in steps."""


@dataclass(frozen=True, slots=True)
class PreviousState:
    """What the checks so far left. `sequence` is the last one's number, `n` what the open window held then.

    `reason_code` is that of the last check of this version; None without one.
    """

    sequence: int
    state: State
    n: int = 0
    reason_code: ReasonCode | None = None


def previous_state(connection: Connection, model: str, version: str) -> PreviousState:
    """The state for the next check of `version`; a fresh one where another version was checked last.

    A version that is champion again continues after what it was checked on before, without the old alarm. A version
    that was never checked begins at its first answer.
    """
    newest = select(DriftCheck.__table__).where(DriftCheck.model == model).order_by(DriftCheck.sequence.desc()).limit(1)
    last = connection.execute(newest).first()
    sequence = last.sequence if last is not None else 0
    if last is not None and last.version != version:
        last = connection.execute(newest.where(DriftCheck.version == version)).first()
        if last is not None:
            return PreviousState(sequence, State(version, _state(last).since))
    if last is None:
        return PreviousState(sequence, State(version, first_answer(connection, version)))
    state = _state(last)
    if state.since is None:
        state = replace(state, since=first_answer(connection, version))
    return PreviousState(sequence, state, 0 if closed(last) else last.n, ReasonCode(last.reason_code))


def measure(connection: Connection, reference: Reference, state: State, until: float) -> Summary:
    """The open window against the reference; streamed, so that its memory does not depend on the window."""
    accumulated = Window(reference)
    if state.since is not None:
        for chunk in window_chunks(connection, state.version, state.since, until):
            # None where the client did not request it: NumPy reads it as NaN, which Window counts as invalid.
            accumulated.add(cast("Mapping[str, ArrayLike]", chunk.features), chunk.letters)
    return accumulated.summary()


def append(
    connection: Connection,
    model: str,
    sequence: int,
    check: CheckResult,
    moved_since: float | None,
    trace: str,
    now: float,
) -> bool:
    """Stores the check and the state it leaves as number `sequence`; False when another check was quicker."""
    row = {
        "model": model,
        "sequence": sequence,
        "version": check.version,
        "checked_at": now,
        "window_start": check.window_start,
        "window_end": check.window_end,
        "n": check.n,
        "verdict": check.verdict,
        "alarm": check.alarm,
        **check.reason.to_columns(),
        "document": document(model, check, moved_since),
        "traceparent": trace,
    }
    return insert_once(connection, DriftCheck, row)


def document(model: str, check: CheckResult, since: float | None) -> dict[str, Any]:
    """The data of a check's events. `drift_since`: when the answers began to differ; `data_digest`: of the window.

    The digest is of the figures that the check computed from the window, which no other window gives.
    """
    evidence = check.to_dict()
    measured = (check.version, check.window_start, check.window_end, check.n, evidence["evidence"])
    return {
        **evidence,
        "model": model,
        "champion": check.version,
        "drift_since": since,
        "data_digest": digest("drift window", *measured),
    }


def drifted_since(connection: Connection, model: str, check: CheckResult) -> float | None:
    """When the first of the windows in a row began that rejected a feature that this check rejects too."""
    moved = {e.feature for e in check.evidence if e.rejected}
    left = max((count for name, count in check.state.streaks.items() if name in moved), default=0) - 1
    begin = check.window_start
    if left > 0:
        statement = select(DriftCheck.__table__).where(DriftCheck.model == model, DriftCheck.version == check.version)
        newest = connection.execute(
            statement.order_by(DriftCheck.sequence.desc()), execution_options={"stream_results": True, "yield_per": 50}
        )
        for row in newest:
            if closed(row) and row.n:  # not where a clock that was set back began a window again
                begin, left = row.window_start, left - 1
            if left == 0:
                break
        newest.close()
    return begin


def unsent(connection: Connection, model: str) -> Sequence[Row[Any]]:
    """The oldest checks whose events are not sent."""
    statement = select(DriftCheck.__table__).where(DriftCheck.model == model, DriftCheck.sent_at.is_(None))
    return connection.execute(statement.order_by(DriftCheck.sequence).limit(MOST_EVENTS)).all()


def mark_sent(connection: Connection, model: str, sequence: int, now: float) -> None:
    same = (DriftCheck.model == model) & (DriftCheck.sequence == sequence)
    connection.execute(update(DriftCheck).where(same).values(sent_at=now))


def checks(connection: Connection, model: str, limit: int = 20) -> Sequence[Row[Any]]:
    """The newest checks first."""
    statement = select(DriftCheck.__table__).where(DriftCheck.model == model)
    return connection.execute(statement.order_by(DriftCheck.sequence.desc()).limit(limit)).all()


def last_alarm(connection: Connection, model: str) -> Row[Any] | None:
    statement = select(DriftCheck.__table__).where(DriftCheck.model == model, DriftCheck.alarm)
    return connection.execute(statement.order_by(DriftCheck.sequence.desc()).limit(1)).first()


def last_suspicion(connection: Connection, model: str, version: str) -> Row[Any] | None:
    """The newest check of the version that found something without raising an alarm."""
    statement = select(DriftCheck.__table__).where(
        DriftCheck.model == model, DriftCheck.version == version, DriftCheck.reason_code == str(ReasonCode.SUSPECTED)
    )
    return connection.execute(statement.order_by(DriftCheck.sequence.desc()).limit(1)).first()


def find(connection: Connection, model: str, sequence: int) -> Row[Any] | None:
    """The check with this number."""
    same = (DriftCheck.model == model) & (DriftCheck.sequence == sequence)
    return connection.execute(select(DriftCheck.__table__).where(same)).first()


def closed(row: Row[Any]) -> bool:
    """Whether the check ended its window."""
    return bool(row.document["state"]["since"] == row.window_end)


def _state(row: Row[Any]) -> State:
    return State(**row.document["state"])
