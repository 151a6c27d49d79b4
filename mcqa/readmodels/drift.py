"""What the drift checks found: the champion, its open window, the last checks with their evidence, the last alarm."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from common.names import CHAMPION

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

Json = dict[str, Any]


class Window(TypedDict):
    """The champion's open window: `answers` since `since` (Unix seconds; None before the first).

    `needed` answers give a verdict, `enough` close the window.
    """

    since: float | None
    answers: int
    needed: int
    enough: int


class Check(TypedDict):
    """Times are Unix seconds, `n` counts answers, `streaks` suspicious windows in a row by feature."""

    sequence: int
    version: str
    checked_at: float
    window_start: float
    window_end: float
    n: int
    verdict: str
    alarm: bool
    reason: str
    reason_code: str
    initiated_by: str
    reason_params: Json
    traceparent: str | None
    streaks: dict[str, int]
    evidence: list[Json]


class Retraining(TypedDict):
    """The run that an alarm asked for; `version` is the one that it registered."""

    key: str
    state: str
    attempt: int
    run_id: str | None
    version: str | None
    error: str | None
    reason_code: str
    initiated_by: str
    created_at: float
    started_at: float | None
    finished_at: float | None


class DriftFacts(TypedDict):
    """`checks` are the newest first; `consecutive` suspicious windows in a row are an alarm."""

    model: str
    champion: str | None
    window: Window | None
    streaks: dict[str, int]
    consecutive: int
    checks: list[Check]
    alarm: Check | None
    retraining: Retraining | None


def read(environ: Mapping[str, str], last: int) -> DriftFacts:
    """With the `last` checks. ValueError for bad settings, UnavailableError without the database or the registry."""
    from common.event_types import DRIFT_DETECTED
    from common.mlflow.registry import ModelRegistry
    from functions.database import connect, transaction
    from functions.drift import store
    from functions.drift.announce import event_id
    from functions.drift.settings import read_settings
    from functions.retrain.store import find_by_event

    drift_settings = read_settings(environ)
    model, config = drift_settings.model, drift_settings.config
    registered = ModelRegistry(environ, model).model()
    champion = registered.aliases.get(CHAMPION) if registered else None
    with transaction(connect(environ)) as connection:
        checks = [_check(row) for row in store.checks(connection, model, last)]
        since, answers = _open_window(connection, model, champion) if champion else (None, 0)
        alarm = store.last_alarm(connection, model)
        run = None if alarm is None else find_by_event(connection, event_id(DRIFT_DETECTED, alarm))
    return {
        "model": model,
        "champion": champion,
        "window": {"since": since, "answers": answers, "needed": config.min_sample, "enough": config.enough}
        if champion
        else None,
        "streaks": checks[0]["streaks"] if checks and checks[0]["version"] == champion else {},
        "consecutive": config.consecutive,
        "checks": checks,
        "alarm": None if alarm is None else _check(alarm),
        "retraining": None if run is None else _retraining(run),
    }


def _open_window(connection: Connection, model: str, champion: str) -> tuple[float | None, int]:
    """Where the champion's open window begins, and how many answers are in it so far."""
    from functions.drift.queries import count_answers
    from functions.drift.store import previous_state

    since = previous_state(connection, model, champion).state.since
    return since, 0 if since is None else count_answers(connection, champion, since, time.time())


def _check(row: Row[Any]) -> Check:
    return {
        "sequence": row.sequence,
        "version": row.version,
        "checked_at": row.checked_at,
        "window_start": row.window_start,
        "window_end": row.window_end,
        "n": row.n,
        "verdict": row.verdict,
        "alarm": row.alarm,
        "reason": row.reason,
        "reason_code": row.reason_code,
        "initiated_by": row.initiated_by,
        "reason_params": row.reason_params,
        "traceparent": row.traceparent,
        "streaks": row.document["state"]["streaks"],
        "evidence": row.document["evidence"],
    }


def _retraining(row: Row[Any]) -> Retraining:
    return {
        "key": row.key,
        "state": row.state,
        "attempt": row.attempt,
        "run_id": row.run_id,
        "version": row.version,
        "error": row.error,
        "reason_code": row.reason_code,
        "initiated_by": row.initiated_by,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }
