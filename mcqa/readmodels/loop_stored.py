"""What the database says of the loop's decisions: the open drift window, retrainings, the rollout, dead letters.

Every query reads a few rows by an index: nothing here depends on how many answers there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from common.event_types import DRIFT_DETECTED
from functions.collect.queries import label_count
from functions.collect.tables import GivenAnswer, LoggedRequest
from functions.database import count_up_to
from functions.dead_letters.tables import DeadLetterRecord
from functions.drift import store as drift_store
from functions.drift.announce import event_id
from functions.drift.settings import Settings as DriftSettings
from functions.retrain import store as retrain_store
from functions.retrain.decision import Retraining
from functions.retrain.settings import Settings as RetrainSettings
from functions.retrain.tables import RetrainRun
from functions.rollout import overrides
from functions.rollout import store as rollout_store
from functions.rollout.settings import Settings as RolloutSettings
from functions.rollout.state import Override, Rollout
from functions.rollout.tables import RolloutDecision
from mcqa.readmodels import loop_counts
from mcqa.readmodels.loop_counts import Flow
from mcqa.readmodels.rollout_history import Since, serving_since

MOST_DEAD_LETTERS = 1_000
_DECISIONS = 1_000
"""How far back the last promotion is looked for."""


@dataclass(frozen=True, slots=True)
class Settings:
    drift: DriftSettings
    retrain: RetrainSettings
    rollout: RolloutSettings


@dataclass(frozen=True, slots=True)
class Stored:
    """`champion` is the rollout's: the registry may not answer. Counts stop at what is needed.

    `since` is that champion's. `window` answers are in the open drift window, `labels` answers got feedback since the
    champion was made (None: when that was is not known), `requests` reached the challenger in its current step.
    `last_change` is the last promotion or rollback.
    """

    champion: str | None
    look: Mapping[str, Any] | None
    rollout: Rollout | None
    override: Override | None
    last_change: Row[Any] | None
    since: Since | None
    requests: int
    check: Row[Any] | None
    window: int
    alarm: Row[Any] | None
    alarm_stands: bool
    answer_to_alarm: Row[Any] | None
    retrainings: Sequence[Retraining]
    active: Row[Any] | None
    last_run: Row[Any] | None
    labels: int | None
    dead_letters: int
    flows: Sequence[Flow]


def read(connection: Connection, settings: Settings, now: float, champion_made: float | None) -> Stored:
    """`champion_made` is when the champion was registered (Unix seconds), None where the registry does not say."""
    model = settings.rollout.model
    look = rollout_store.read_status(connection, model)
    champion = look["champion"] if look else None
    rollout = rollout_store.read_record(connection, model)
    newest = drift_store.checks(connection, model, 1)
    check = newest[0] if newest and newest[0].version == champion else None
    stands = check is not None and check.document["state"].get("alarmed_at") is not None
    alarm = drift_store.last_alarm(connection, model) if stands else None
    return Stored(
        champion=champion,
        look=look,
        rollout=rollout,
        override=overrides.read(connection, model),
        last_change=_last_change(connection, model),
        since=serving_since(connection, model, champion),
        requests=_step_requests(connection, rollout, settings.rollout.analysis.min_requests),
        check=check,
        window=_open_window(connection, model, champion, settings.drift, now) if champion else 0,
        alarm=alarm,
        alarm_stands=stands,
        answer_to_alarm=retrain_store.find_by_event(connection, event_id(DRIFT_DETECTED, alarm)) if alarm else None,
        retrainings=retrain_store.known(connection, model),
        active=retrain_store.active(connection, model),
        last_run=_last_ended(connection, model),
        labels=None if champion_made is None else label_count(connection, champion_made, now, settings.retrain.minimum),
        dead_letters=count_up_to(
            connection, select(DeadLetterRecord.key).where(DeadLetterRecord.state == "open"), MOST_DEAD_LETTERS
        ),
        flows=loop_counts.read(connection, model, now),
    )


def _open_window(connection: Connection, model: str, champion: str, settings: DriftSettings, now: float) -> int:
    """The answers that the next check would test; those that are still settling are not among them."""
    since = drift_store.previous_state(connection, model, champion).state.since
    if since is None:
        return 0
    answers = select(GivenAnswer.answered_at).where(
        GivenAnswer.version == champion,
        GivenAnswer.answered_at >= since,
        GivenAnswer.answered_at < now,
        GivenAnswer.letter.is_not(None),
        GivenAnswer.purpose.is_(None),
    )
    return min(count_up_to(connection, answers, settings.config.enough), settings.config.enough)


def _step_requests(connection: Connection, rollout: Rollout | None, needed: int) -> int:
    if rollout is None or not rollout.steps:
        return 0
    requests = select(LoggedRequest.requested_at).where(
        LoggedRequest.version == rollout.challenger,
        LoggedRequest.requested_at >= rollout.steps[-1].since,
        LoggedRequest.purpose.is_(None),
    )
    return min(count_up_to(connection, requests, needed), needed)


def _last_change(connection: Connection, model: str) -> Row[Any] | None:
    """The newest decision that promoted a version or rolled one back."""
    columns: tuple[Any, ...] = (
        RolloutDecision.number,
        RolloutDecision.at,
        RolloutDecision.announces,
        RolloutDecision.champion,
        RolloutDecision.challenger,
        RolloutDecision.reason_code,
        RolloutDecision.initiated_by,
    )
    last = select(func.max(RolloutDecision.number)).where(RolloutDecision.model == model).scalar_subquery()
    statement = select(*columns).where(
        RolloutDecision.model == model,
        RolloutDecision.number > last - _DECISIONS,
        RolloutDecision.announces.in_(("upgraded", "rolled-back", "aborted")),
    )
    return connection.execute(statement.order_by(RolloutDecision.number.desc()).limit(1)).first()


def _last_ended(connection: Connection, model: str) -> Row[Any] | None:
    """The newest retraining that ran to an end."""
    statement = select(RetrainRun.__table__).where(
        RetrainRun.model == model, RetrainRun.state.in_(("succeeded", "failed", "canceled"))
    )
    return connection.execute(statement.order_by(RetrainRun.created_at.desc()).limit(1)).first()
