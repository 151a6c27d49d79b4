"""What went along the loop's arrows lately: counts in the database, each bounded by time and by number.

With a million answers in the database this reads the last hour's rows only, by an index, and never more than MOST of
them.
"""

from __future__ import annotations

from typing import Any, TypedDict

from sqlalchemy import Connection, Select, and_, select
from sqlalchemy.orm import InstrumentedAttribute

from functions.collect.tables import GivenAnswer, GivenFeedback, LoggedRequest
from functions.database import count_up_to, distinct_values
from functions.dead_letters.tables import DeadLetterRecord
from functions.drift.tables import DriftCheck
from functions.notify.tables import SentNotice
from functions.retrain.tables import RetrainRun
from functions.rollout.actions import ActionType
from functions.rollout.tables import RolloutDecision

HOUR = 3600.0
MOST = 10_000
"""More is shown as `more than 10,000`: an exact figure would cost as many reads."""

_NEWEST = 1_000
"""Checks and decisions are in order of their number, not of time: the last hour's are counted among so many newest."""
_LONGEST_RUN = 14 * 86_400.0
"""Runs are in order of their creation: a version that was registered lately is one of a run no older than this."""


class Flow(TypedDict):
    """What went from one part to another within the last `seconds`: `count` of `what`.

    `more`: there were more than `count`, and they were not counted.
    """

    source: str
    target: str
    what: str
    count: int
    more: bool
    seconds: float


def read(connection: Connection, model: str, now: float, seconds: float = HOUR) -> list[Flow]:
    """The flows in the order in which a question passes the loop; `now` in Unix seconds."""
    since = now - seconds
    counts = {
        ("people", "model", "questions"): _exchanges(
            connection, LoggedRequest.version, LoggedRequest.requested_at, since
        ),
        ("model", "collect", "answers"): _exchanges(connection, GivenAnswer.version, GivenAnswer.answered_at, since),
        ("people", "collect", "feedback"): _later(connection, GivenFeedback.arrived_at, since),
        **_decided(connection, model, since),
        ("rollout", "notify", "notices"): _later(connection, SentNotice.sent_at, since),
        ("broker", "dead-letters", "dead-letters"): sum(
            _later(connection, DeadLetterRecord.last_at, since, DeadLetterRecord.state == state)
            for state in ("open", "replayed", "discarded")  # the index begins with the state
        ),
    }
    return [
        {
            "source": source,
            "target": target,
            "what": what,
            "count": min(count, MOST),
            "more": count > MOST,
            "seconds": seconds,
        }
        for (source, target, what), count in counts.items()
    ]


def _decided(connection: Connection, model: str, since: float) -> dict[tuple[str, str, str], int]:
    checks = _newest(DriftCheck.model == model, DriftCheck.sequence, DriftCheck.checked_at, DriftCheck.alarm)
    of_rollouts = and_(RolloutDecision.model == model, RolloutDecision.action_type != str(ActionType.DEAD_LETTERS))
    decisions = _newest(of_rollouts, RolloutDecision.number, RolloutDecision.at)
    late_checks = select(checks.c.checked_at).where(checks.c.checked_at >= since)
    runs = select(RetrainRun.key).where(RetrainRun.model == model)
    versions = runs.where(
        RetrainRun.created_at >= since - _LONGEST_RUN,
        RetrainRun.finished_at >= since,
        RetrainRun.version.is_not(None),
    )
    statements = {
        ("database", "drift", "checks"): late_checks,
        ("drift", "retrain", "alarms"): late_checks.where(checks.c.alarm),
        ("retrain", "pipelines", "runs"): runs.where(RetrainRun.created_at >= since),
        ("pipelines", "registry", "versions"): versions,
        ("rollout", "model", "decisions"): select(decisions.c.at).where(decisions.c.at >= since),
    }
    return {flow: count_up_to(connection, rows, MOST) for flow, rows in statements.items()}


def _exchanges(
    connection: Connection,
    version: InstrumentedAttribute[str | None],
    at: InstrumentedAttribute[float],
    since: float,
) -> int:
    """Real ones since then, of whichever version: one range of the index (version, at) for each."""
    total = 0
    for value in distinct_values(connection, version):
        if total <= MOST:
            total += _later(connection, at, since, version == value, version.class_.purpose.is_(None))
    return total


def _later(connection: Connection, at: InstrumentedAttribute[float], since: float, *conditions: Any) -> int:
    return count_up_to(connection, select(at).where(*conditions, at >= since), MOST)


def _newest(model: Any, number: Any, *columns: Any) -> Any:
    newest: Select[Any] = select(*columns).where(model).order_by(number.desc()).limit(_NEWEST)
    return newest.subquery()
