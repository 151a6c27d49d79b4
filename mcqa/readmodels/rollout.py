"""Where a rollout stands and why: champion, challenger, traffic, evidence, the operator's override, decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from common import links
from common.names import CHALLENGER, CHAMPION

Row = Mapping[str, Any]


class Step(TypedDict):
    """A step of the canary: its percent of the traffic, and since when in Unix seconds."""

    percent: int
    since: float


class Override(TypedDict):
    """The operator's instruction: `action` is promote, hold or abort, for the version `challenger`."""

    action: str
    challenger: str
    by: str


class RolloutFacts(TypedDict):
    """`look` is the rollout function's last observation and `decisions` its last decisions, newest first, as stored.

    `pages` are MLflow's by version, `planned` the percentages of a canary's steps.
    """

    model: str
    pages: dict[str, str]
    look: Row | None
    steps: list[Step]
    planned: list[int]
    wish: Override | None
    decisions: list[Row]


def read(environ: Mapping[str, str], decisions: int) -> RolloutFacts:
    """The facts from the database; ValueError for bad settings, UnavailableError where the database is unavailable."""
    from functions.database import connect, transaction
    from functions.rollout import overrides, store
    from functions.rollout.settings import read_settings

    settings = read_settings(environ)
    with transaction(connect(environ)) as connection:
        status = store.read_status(connection, settings.model)
        record = store.read_record(connection, settings.model)
        override = overrides.read(connection, settings.model)
        log = store.decisions(connection, settings.model, decisions)
    versions = [status[alias] for alias in (CHAMPION, CHALLENGER) if status and status[alias]]
    return {
        "model": settings.model,
        "pages": {version: links.mlflow_version(environ, settings.model, version) for version in versions},
        "look": status,
        "steps": [{"percent": step.percent, "since": step.since} for step in record.steps] if record else [],
        "planned": list(settings.decision.steps),
        "wish": None
        if override is None
        else {"action": override.action, "challenger": override.challenger, "by": override.by},
        "decisions": list(log),
    }
