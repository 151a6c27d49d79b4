"""A rollout over its time: shares of the traffic, each guard's interval, and the decision log.

A rollout is what the log holds from one `canary-starting` to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from sqlalchemy import Connection

Row = Mapping[str, Any]

POINTS = 240
"""Of a guard's series: more than a chart's pixels show."""

UNDER_WAY, PROMOTED, ROLLED_BACK, ENDED = "under-way", "promoted", "rolled-back", "ended"


class Decision(TypedDict):
    """A row of the log: `by` is the operator's name, where one did it. `evidence` is the analysis as it was stored."""

    number: int
    at: float
    phase: str
    action: str
    action_type: str
    reason: str
    reason_code: str
    reason_params: dict[str, Any] | None
    initiated_by: str
    by: str | None
    champion: str | None
    challenger: str | None
    percent: int | None
    trace: str | None
    evidence: dict[str, Any] | None


class Since(TypedDict):
    """Since when (Unix seconds) the champion has served, and the decision that made it so."""

    at: float
    decision: Decision


class LogPage(TypedDict):
    """Newest first, without their evidence; `older` is the number before which the next page begins (None: none)."""

    decisions: list[Decision]
    older: int | None


class Share(TypedDict):
    """The challenger's percent of the traffic from `at` on; `decision` is the number of the row that shows it."""

    at: float
    percent: int
    decision: int


class Point(TypedDict):
    """A guard at a time: how much worse the challenger is, within what bounds (None: infinite), against its margin."""

    at: float
    percent: int
    verdict: str
    worse_by: float | None
    low: float | None
    high: float | None
    margin: float | None
    of: str
    n_champion: int
    n_challenger: int


class RolloutSummary(TypedDict):
    """One rollout: `number` is the decision that began it, `ended` when its outcome was decided (None: under way)."""

    number: int
    champion: str | None
    challenger: str | None
    started: float
    ended: float | None
    outcome: str
    trace: str | None


class History(TypedDict):
    """`guards` has a series by guard, in the analysis's order; `until` is when it was last looked at."""

    rollout: RolloutSummary
    until: float
    shares: list[Share]
    guards: dict[str, list[Point]]


def log(environ: Mapping[str, str], before: int | None = None, most: int = 20) -> LogPage:
    """The decisions before number `before`. ValueError for bad settings, UnavailableError without the database."""
    from functions.rollout import store

    with _database(environ) as (connection, model):
        rows = store.decisions_before(connection, model, before, most + 1)
    older = rows[most - 1]["number"] if len(rows) > most else None
    return {"decisions": [{**_decision(row), "evidence": None} for row in rows[:most]], "older": older}


def decision(environ: Mapping[str, str], number: int) -> Decision | None:
    """One row of the log with its evidence; None where there is none of that number."""
    from functions.rollout import store

    with _database(environ) as (connection, model):
        row = store.read_decision(connection, model, number)
    return None if row is None else _decision(row)


def rollouts(environ: Mapping[str, str], most: int = 10) -> list[RolloutSummary]:
    """The newest first."""
    from functions.rollout import store

    with _database(environ) as (connection, model):
        starts = store.starts(connection, model, None, most)
        ends = [None, *(start["number"] for start in starts)][: len(starts)]
        return [
            _summary(start, store.decisions_between(connection, model, start["number"], end))
            for start, end in zip(starts, ends, strict=True)
        ]


def history(environ: Mapping[str, str], number: int | None = None) -> History | None:
    """Of the rollout that decision `number` belongs to, else of the newest; None before the first."""
    from functions.rollout import measurements, store

    with _database(environ) as (connection, model):
        begun = store.starts(connection, model, number, 1)
        if not begun:
            return None
        following = store.next_start(connection, model, begun[0]["number"])
        end = following["number"] if following else None
        rows = store.decisions_between(connection, model, begun[0]["number"], end)
        status = store.read_status(connection, model)
        summary = _summary(begun[0], rows)
        until = summary["ended"] or (status["at"] if status else rows[-1]["at"])
        measured = list(measurements.between(connection, model, summary["started"], until))
    if status and status["evidence"] and summary["ended"] is None and following is None:
        measured.append(_measured(status))
    return {
        "rollout": summary,
        "until": until,
        "shares": _shares(rows, summary["challenger"]),
        "guards": _guards([*measured, *(_measured(row) for row in rows if row["evidence"])], summary),
    }


def serving_since(connection: Connection, model: str, champion: str | None) -> Since | None:
    """None without a champion, while it does not serve yet, and where the log does not reach so far back."""
    from functions.rollout import store

    found = store.serving_since(connection, model, champion) if champion else None
    return None if found is None else {"at": found[0], "decision": {**_decision(found[1]), "evidence": None}}


@contextmanager
def _database(environ: Mapping[str, str]) -> Iterator[tuple[Connection, str]]:
    from functions.database import connect, transaction
    from functions.rollout.settings import read_settings

    settings, engine = read_settings(environ), connect(environ)
    try:
        with transaction(engine) as connection:
            yield connection, settings.model
    finally:
        engine.dispose()


def _decision(row: Row) -> Decision:
    params = row["reason_params"]
    by = params.get("by") if isinstance(params, Mapping) else None
    return {
        "number": row["number"],
        "at": row["at"],
        "phase": row["phase"],
        "action": row["action"],
        "action_type": row["action_type"],
        "reason": row["reason"],
        "reason_code": row["reason_code"],
        "reason_params": dict(params) if isinstance(params, Mapping) else None,
        "initiated_by": row["initiated_by"],
        "by": None if by is None else str(by),
        "champion": row["champion"],
        "challenger": row["challenger"],
        "percent": row["percent"],
        "trace": row["trace"],
        "evidence": row["evidence"],
    }


def _summary(start: Row, rows: Sequence[Row]) -> RolloutSummary:
    """`rows` are the decisions from `start` on, oldest first."""
    outcome, ended = UNDER_WAY, None
    for row in rows:
        if row["action_type"] == "set-tag" and row["phase"] == "rolling-back":
            outcome, ended = ROLLED_BACK, row["at"]
        elif row["reason_code"] == "rollout-completed":
            outcome, ended = PROMOTED, row["at"]
        elif outcome == UNDER_WAY and row["reason_code"] in ("rollout-superseded", "champion-serves-alone"):
            outcome, ended = ENDED, row["at"]
    return {
        "number": start["number"],
        "champion": start["champion"],
        "challenger": start["challenger"],
        "started": start["at"],
        "ended": ended,
        "outcome": outcome,
        "trace": start["trace"],
    }


def _shares(rows: Sequence[Row], challenger: str | None) -> list[Share]:
    """Where the share changed. Without a percent the newest version has all traffic: who that is, the decision says."""
    shares: list[Share] = []
    for row in rows:
        percent = row["percent"]
        if percent is None:
            percent = 100 if row["phase"] == "promoting" or row["champion"] == challenger else 0
        if not shares or shares[-1]["percent"] != percent:
            shares.append({"at": row["at"], "percent": percent, "decision": row["number"]})
    return shares


def _measured(row: Row) -> dict[str, Any]:
    """The measurement in a decision's or a status's evidence."""
    evidence = row["evidence"]
    return {
        "at": row["at"],
        "percent": row["percent"] or 0,
        "challenger": evidence.get("challenger", row["challenger"]),
        "measures": evidence["measures"],
    }


def _guards(measured: Sequence[Row], summary: RolloutSummary) -> dict[str, list[Point]]:
    """A series by guard: of several measurements at one time the first counts."""
    by_time = {row["at"]: row for row in reversed(measured) if row["challenger"] == summary["challenger"]}
    kept = _thinned([by_time[at] for at in sorted(by_time)])
    guards: dict[str, list[Point]] = {}
    for row in kept:
        for measure in row["measures"]:
            if guard := measure.get("guard"):
                guards.setdefault(guard, []).append(_point(row, measure))
    return guards


def _thinned(rows: Sequence[Row]) -> list[Row]:
    """At most POINTS, the last among them."""
    every = -(-len(rows) // POINTS) or 1
    return list(rows[::-every])[::-1]


def _point(row: Row, measure: Row) -> Point:
    return {
        "at": row["at"],
        "percent": row["percent"],
        "verdict": measure["verdict"],
        "worse_by": measure["worse_by"],
        "low": measure["low"],
        "high": measure["high"],
        "margin": measure["margin"],
        "of": measure["of"],
        "n_champion": measure["n_champion"],
        "n_challenger": measure["n_challenger"],
    }
