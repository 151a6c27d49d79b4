"""Where a rollout stands and why: versions, traffic, evidence and what it lacks, the operator's override, decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from common import links
from common.names import CHALLENGER, CHAMPION
from mcqa.readmodels.rollout_history import Since, serving_since

if TYPE_CHECKING:
    from functions.rollout.settings import Settings

Row = Mapping[str, Any]


class Step(TypedDict):
    """A step of the canary: its percent of the traffic, and since when in Unix seconds."""

    percent: int
    since: float


class Override(TypedDict):
    """The operator's instruction of the time `at`: promote, hold or abort, for the version `challenger`."""

    action: str
    challenger: str
    by: str
    at: float


class Need(TypedDict):
    """What a guard still lacks: `functions.rollout.forecast.Need`. None: unknown.

    `more` counts requests, answers or labels (`unit`) of both versions together, `seconds` at the present rate
    `per_hour`.
    """

    guard: str
    unit: str
    state: str
    more: int | None
    seconds: float | None
    per_hour: float | None


class RolloutFacts(TypedDict):
    """`look` is the rollout function's last observation and `decisions` its last decisions, newest first, as stored.

    `since` is the champion's. `pages` are MLflow's by version and `registry` is the model's there. `planned` are the
    percentages of a canary's steps. `needs` has an entry for each measure of the evidence, in its order, while a step
    is under way; `seconds_left` is until the step can pass, None where that is unknown.
    """

    model: str
    pages: dict[str, str]
    registry: str
    look: Row | None
    since: Since | None
    steps: list[Step]
    planned: list[int]
    wish: Override | None
    needs: list[Need]
    seconds_left: float | None
    decisions: list[Row]


def read(environ: Mapping[str, str], decisions: int) -> RolloutFacts:
    """The facts from the database; ValueError for bad settings, UnavailableError where the database is unavailable."""
    from functions.database import connect, transaction
    from functions.rollout import measurements, overrides, store
    from functions.rollout.settings import read_settings

    settings = read_settings(environ)
    engine = connect(environ)
    try:
        with transaction(engine) as connection:
            status = store.read_status(connection, settings.model)
            record = store.read_record(connection, settings.model)
            override = overrides.read(connection, settings.model)
            log = store.decisions(connection, settings.model, decisions)
            since = serving_since(connection, settings.model, status[CHAMPION] if status else None)
            step = record.steps[-1] if record and record.steps[-1].percent > 0 else None
            measured = (
                measurements.between(connection, settings.model, step.since, status["at"]) if step and status else ()
            )
    finally:
        engine.dispose()
    versions = [status[alias] for alias in (CHAMPION, CHALLENGER) if status and status[alias]]
    needs, seconds = _needs(measured, status, step.since, settings) if step and status else ([], None)
    return {
        "model": settings.model,
        "pages": {version: links.mlflow_version(environ, settings.model, version) for version in versions},
        "registry": links.mlflow_model(environ, settings.model),
        "look": status,
        "since": since,
        "steps": [{"percent": step.percent, "since": step.since} for step in record.steps] if record else [],
        "planned": list(settings.decision.steps),
        "wish": None
        if override is None
        else {"action": override.action, "challenger": override.challenger, "by": override.by, "at": override.at},
        "needs": needs,
        "seconds_left": seconds,
        "decisions": list(log),
    }


def _needs(measured: Sequence[Row], status: Row, since: float, settings: Settings) -> tuple[list[Need], float | None]:
    """From the step's kept measurements and the last one, which may not have been kept."""
    from functions.rollout import forecast

    evidence = status["evidence"]
    if not evidence or not evidence["measures"]:
        return [], None
    newest = {"at": status["at"], "percent": status["percent"] or 0, "measures": evidence["measures"]}
    history = [*(row for row in measured if row["challenger"] == status["challenger"]), newest]
    found = forecast.needs(history, since, settings.analysis)
    needs: list[Need] = [
        {
            "guard": str(need.guard),
            "unit": str(need.unit),
            "state": str(need.state),
            "more": need.more,
            "seconds": need.seconds,
            "per_hour": need.per_hour,
        }
        for need in found
    ]
    return needs, forecast.step_seconds(found, newest, since, settings.analysis)
