"""What the drift checks found: the champion, its baseline and open window, the last checks, the last alarm.

The distributions, subjects and accuracy behind it are in modules of their own, `drift_…`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from common.names import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from common.mlflow.registry import ModelRegistry, RegisteredModel
    from functions.drift.settings import Settings

Json = dict[str, Any]


MOST_COUNTED = 100_000
"""Answers counted of a window: a window of more is not worth the time of counting."""


class Baseline(TypedDict):
    """What drift of `version` is measured against: its reference.json, or the answers that an operator accepted.

    The other fields are those of an accepted one, else None: `check` records it; `n` answers within [since, until).
    """

    source: Literal["reference", "accepted"]
    version: str
    check: int | None
    accepted_at: float | None
    accepted_by: str | None
    since: float | None
    until: float | None
    n: int | None


class Window(TypedDict):
    """The champion's open window: `answers` since `since` (Unix seconds; None before the first).

    `needed` answers give a verdict, `enough` close the window. `answers` is counted up to MOST_COUNTED.
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


class Registered(TypedDict):
    """What became of the version that a retraining registered; `text` is why it was rolled back, for people."""

    version: str
    state: Literal["champion", "challenger", "promoted", "passed", "rolled-back", "registered", "gone"]
    text: str


class DriftFacts(TypedDict):
    """`checks` are the newest first; `consecutive` suspicious windows in a row are an alarm.

    `differs_since` is when the answers began to differ, None while they do not: what is accepted by default.
    """

    model: str
    champion: str | None
    baseline: Baseline | None
    window: Window | None
    streaks: dict[str, int]
    consecutive: int
    differs_since: float | None
    checks: list[Check]
    alarm: Check | None
    retraining: Retraining | None
    registered: Registered | None


def read(environ: Mapping[str, str], last: int) -> DriftFacts:
    """With the `last` checks. ValueError for bad settings, UnavailableError without the database or the registry."""
    from common.event_types import DRIFT_DETECTED
    from common.mlflow.registry import ModelRegistry
    from functions.drift import baselines, store
    from functions.drift.announce import event_id
    from functions.drift.settings import read_settings
    from functions.retrain.store import find_by_event
    from mcqa.readmodels.drift_queries import reading

    settings = read_settings(environ)
    model = settings.model
    with ModelRegistry(environ, model) as registry:
        aliases = registry.model()
        champion = aliases.aliases.get(CHAMPION) if aliases else None
        with reading(environ) as connection:
            checks = [_check(row) for row in store.checks(connection, model, last)]
            alarm = store.last_alarm(connection, model)
            run = None if alarm is None else find_by_event(connection, event_id(DRIFT_DETECTED, alarm))
            state = store.previous_state(connection, model, champion).state if champion else None
            window = _open_window(connection, settings, champion, state.since) if champion and state else None
            baseline = baseline_of(connection, model, champion) if champion else None
            differs_since = baselines.differs_since(connection, model, state) if state else None
        registered = _registered(registry, aliases, run.version) if run is not None and run.version else None
    return {
        "model": model,
        "champion": champion,
        "baseline": baseline,
        "window": window,
        "streaks": dict(state.streaks) if state else {},
        "consecutive": settings.config.consecutive,
        "differs_since": differs_since,
        "checks": checks,
        "alarm": None if alarm is None else _check(alarm),
        "retraining": None if run is None else _retraining(run),
        "registered": registered,
    }


def read_check(environ: Mapping[str, str], sequence: int) -> Check | None:
    """One check by its number; None where there is none. Raises as `read`."""
    from functions.drift.settings import read_settings
    from functions.drift.store import find
    from mcqa.readmodels.drift_queries import reading

    model = read_settings(environ).model
    with reading(environ) as connection:
        row = find(connection, model, sequence)
    return None if row is None else _check(row)


def baseline_of(connection: Connection, model: str, version: str, check: int | None = None) -> Baseline:
    """What `version` is measured against now, or was at a check."""
    from functions.drift.baselines import in_force

    row = in_force(connection, model, version, check)
    return {
        "source": "reference" if row is None else "accepted",
        "version": version,
        "check": None if row is None else row.sequence,
        "accepted_at": None if row is None else row.accepted_at,
        "accepted_by": None if row is None else row.accepted_by,
        "since": None if row is None else row.since,
        "until": None if row is None else row.until,
        "n": None if row is None else row.n,
    }


def _open_window(connection: Connection, settings: Settings, champion: str, since: float | None) -> Window:
    """Where the champion's open window begins, and how many answers are in it so far."""
    from mcqa.readmodels.drift_queries import count_up_to

    answers = 0 if since is None else count_up_to(connection, champion, since, time.time(), MOST_COUNTED)
    config = settings.config
    return {"since": since, "answers": answers, "needed": config.min_sample, "enough": config.enough}


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


def _registered(registry: ModelRegistry, model: RegisteredModel | None, version: str) -> Registered:
    """What became of a registered version, by the aliases and the tag that its canary left."""
    from functions.rollout.version_tag import ROLLOUT_TAG, Outcome, RolloutTag

    aliases = model.aliases if model else {}
    if version == aliases.get(CHAMPION):
        return {"version": version, "state": "champion", "text": ""}
    details = registry.version(version)
    if details is None:
        return {"version": version, "state": "gone", "text": ""}
    tag = RolloutTag.decode(details.tags.get(ROLLOUT_TAG))
    if tag is None:
        state: Literal["challenger", "registered"] = (
            "challenger" if version == aliases.get(CHALLENGER) else "registered"
        )
        return {"version": version, "state": state, "text": ""}
    if tag.outcome is Outcome.ROLLED_BACK:
        return {"version": version, "state": "rolled-back", "text": tag.text}
    return {"version": version, "state": "passed" if tag.outcome is Outcome.PASSED else "promoted", "text": ""}
