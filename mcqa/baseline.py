"""Accept the champion's answers as normal for drift, and take that back: what the verb and the page both call."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict

from common.names import CHAMPION

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from functions.drift.baselines import Accepted, Undone
    from functions.drift.settings import Settings


class Candidate(TypedDict):
    """What would be accepted: answers of `version` since `since` (Unix seconds). `n` is counted no further than `most`;
    fewer than `needed` are refused."""

    version: str
    since: float
    n: int
    most: int
    needed: int


class NoChampionError(ValueError):
    """There is no version whose baseline could be changed."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(f"{model} has no champion, so there is no baseline to change")


class OtherChampionError(ValueError):
    """The champion, `current`, is not the `expected` version, whose answers were to be accepted."""

    def __init__(self, expected: str, current: str) -> None:
        self.expected, self.current = expected, current
        super().__init__(f"the champion is version {current}, not version {expected}: nothing was accepted")


def accept(
    environ: Mapping[str, str], since: float | None, by: str, now: float, expected: str | None = None
) -> Accepted:
    """From the next check on, drift is measured against the champion's answers since `since` (Unix seconds; None: when
    they began to differ, or the open window began), where the champion is (still) the version `expected`.

    ValueError: NoChampionError, OtherChampionError, TooFewAnswersError, bad settings. UnavailableError without database
    or registry.
    """
    from functions.drift import baselines

    with _champion(environ) as (engine, settings, version):
        if expected is not None and version != expected:
            raise OtherChampionError(expected, version)
        return baselines.accept(engine, settings, version, since, by, now)


def undo(environ: Mapping[str, str], by: str, now: float, expected: int | None = None) -> Undone:
    """Takes the champion's accepted baseline back, where it is (still) the one that check `expected` accepted.

    ValueError: NoChampionError, NothingAcceptedError, OtherBaselineError, bad settings. UnavailableError without
    database or registry.
    """
    from functions.drift import baselines

    with _champion(environ) as (engine, settings, version):
        return baselines.undo(engine, settings, version, by, now, expected)


def candidate(environ: Mapping[str, str], since: float) -> Candidate:
    """What `accept` would take now. Raises as it does, but not for too few answers."""
    from functions.database import transaction
    from mcqa.readmodels.drift import MOST_COUNTED
    from mcqa.readmodels.drift_queries import count_up_to

    with _champion(environ) as (engine, settings, version):
        with transaction(engine) as connection:
            n = count_up_to(connection, version, since, time.time() - settings.settle, MOST_COUNTED)
        needed = settings.config.min_reference
    return {"version": version, "since": since, "n": n, "most": MOST_COUNTED, "needed": needed}


@contextmanager
def _champion(environ: Mapping[str, str]) -> Iterator[tuple[Engine, Settings, str]]:
    from common.mlflow.registry import ModelRegistry
    from functions.database import connect
    from functions.drift.settings import read_settings

    settings = read_settings(environ)
    with ModelRegistry(environ, settings.model) as registry:
        registered = registry.model()
    version = registered.aliases.get(CHAMPION) if registered else None
    if version is None:
        raise NoChampionError(settings.model)
    engine = connect(environ)
    try:
        yield engine, settings, version
    finally:
        engine.dispose()
