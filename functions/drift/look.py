"""One look: the champion's open window against its own reference, stored before anybody is told.

1. Which version is champion, and what is its reference (registry)?
2. What did the checks so far leave, and what does the open window hold (database)?
3. The verdict (decision.check), stored with its evidence in one insert that also is the new state.

A crash before 3 leaves everything as it was, one behind it leaves a stored check whose events `announce` sends at the
next look. Two looks at once compute the same; one is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from common.environment import number, text, whole
from common.errors import SettingError
from common.mlflow.registry import ModelRegistry
from common.names import CHAMPION, MODEL
from functions.clocks import SKEW
from functions.database import transaction
from functions.drift.decision import Check, Config, State, check
from functions.drift.reference import BadReferenceError, Reference, parse
from functions.drift.store import append, before, drifted_since, measure
from functions.events import Event
from functions.sink import trace_of

FILE = "reference.json"
GROWTH = 1.25
"""A growing window is looked at again when it holds a quarter more: eight looks between 200 and 1,000 answers, however
often the function is called. Each look is another chance of a false alarm."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`settle` in seconds: how old an answer must be to belong to a window.

    Answers are dated by the logger and reach the database later. One that comes after its window was closed would be
    in no window, so the default is longer than the Broker tries to deliver (8 retries, 127.5 s of backoff).
    """

    model: str
    config: Config
    settle: float


def settings(environ: Mapping[str, str]) -> Settings:
    default = Config()
    try:
        config = Config(
            alpha=number(environ, "MCQA_DRIFT_ALPHA", default.alpha),
            min_sample=whole(environ, "MCQA_DRIFT_MIN_SAMPLE", default.min_sample, 1),
            enough=whole(environ, "MCQA_DRIFT_ENOUGH", default.enough, 1),
            consecutive=whole(environ, "MCQA_DRIFT_CONSECUTIVE", default.consecutive, 1),
            remind_after=number(environ, "MCQA_DRIFT_REMIND_SECONDS", default.remind_after, 60.0),
        )
    except SettingError:
        raise
    except ValueError as error:
        raise SettingError(f"MCQA_DRIFT_*: {error}") from None
    model = text(environ, "MCQA_REGISTERED_MODEL", MODEL)
    return Settings(model, config, number(environ, "MCQA_DRIFT_SETTLE_SECONDS", 150.0))


class Drift:
    """The adapters of one function process. References are kept: versions never change."""

    def __init__(self, settings: Settings, engine: Engine, registry: ModelRegistry) -> None:
        self._settings, self._engine, self._registry = settings, engine, registry
        self._references: dict[str, Reference] = {}

    def look(self, event: Event, now: float) -> str:
        """Checks and stores; what came of it in a line. UnavailableError when a part of the loop is away."""
        model, config = self._settings.model, self._settings.config
        found = self._registry.model()
        version = None if found is None else found.aliases.get(CHAMPION)
        if version is None:
            return f"insufficient: {model} has no champion" + ("" if found else ", it is not registered")
        until = now - self._settings.settle
        with transaction(self._engine) as connection:
            old = before(connection, model, version)
        reference = self._reference(version)
        if isinstance(reference, str):
            if reference == old.reason:
                return f"insufficient, as before: {reference}"
            verdict = Check("insufficient", False, reference, version, 0, old.state.since, until, (), old.state)
        else:
            state = in_time(old.state, now, until)
            if state is old.state and state.since is not None and state.since >= until:
                return f"the window of version {version} is younger than {self._settings.settle:g} s"
            with transaction(self._engine) as connection:
                summary = measure(connection, reference, state, until)
            # What a clock that was set back begins anew is noted at once: the window opens here.
            if state is old.state and not due(old.reason is not None, old.n, summary.n, config):
                return f"nothing new: {summary.n} answers in the window, {old.n} at the last check"
            verdict = check(reference, summary, state, until, config)
        trace = trace_of(event, "drift", model, version, verdict.window_start, old.sequence + 1)
        with transaction(self._engine) as connection:
            since = drifted_since(connection, model, verdict)
        with transaction(self._engine) as connection:
            if not append(connection, model, old.sequence + 1, verdict, since, trace, now):
                return "another look was quicker"
        return f"{verdict.verdict}{', alarm' if verdict.alarm else ''}: {verdict.reason}"

    def _reference(self, version: str) -> Reference | str:
        """The version's reference, or why there is none to compare with."""
        if version not in self._references:
            content = self._registry.read(version, FILE)
            if content is None:
                return f"version {version} has no {FILE}; register it by the pipeline, which writes one"
            try:
                self._references[version] = parse(content)
            except BadReferenceError as error:
                return f"version {version}: {error}"
        return self._references[version]


def in_time(state: State, now: float, until: float) -> State:
    """The state, or one whose window opens at `until` where its own lies ahead: our clock was set back, and drift must
    not be blind until it has caught up. Answers of the time between that were looked at before may count once more.
    """
    if state.since is None or state.since <= now + SKEW:
        return state
    alarmed = None if state.alarmed_at is None else min(state.alarmed_at, until)
    return replace(state, since=until, alarmed_at=alarmed)


def due(judged: bool, seen: int, n: int, config: Config) -> bool:
    """Whether `n` answers in the open window are worth another look, after `seen` at the last one."""
    if not judged or n >= config.enough or seen < config.min_sample <= n:
        return True
    return n > seen and n >= GROWTH * seen
