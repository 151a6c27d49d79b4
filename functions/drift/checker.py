"""One check: the champion's open window against its baseline, stored before it is announced.

1. Which version is champion (registry), and what is its baseline: the one that an operator accepted (database), or the
   reference that it was registered with (registry)?
2. What state did the checks so far leave, and what does the open window hold (database)?
3. The verdict (decision.evaluate), stored with its evidence in one insert that also is the new state.

A crash before 3 leaves everything as it was, one after it leaves a stored check whose events `announce` sends at the
next check. Two checks at once compute the same; one is stored.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, Engine

from common.mlflow.registry import ModelRegistry
from common.names import CHAMPION
from functions.clocks import SKEW
from functions.database import transaction
from functions.drift import baselines
from functions.drift.decision import CheckResult, Config, State, evaluate
from functions.drift.reasons import ReasonCode
from functions.drift.reference import BadReferenceError, Reference, parse
from functions.drift.settings import Settings
from functions.drift.store import append, drifted_since, measure, previous_state
from functions.events import Event
from functions.reasons import InitiatedBy, Reason
from functions.sink import trace_of

FILE = "reference.json"
GROWTH = 1.25
"""A growing window is checked again when it holds a quarter more: eight checks between 200 and 1,000 answers, however
often the function is called. Each check is another chance of a false alarm."""


class DriftChecker:
    """The adapters of one function process. References are kept: versions never change."""

    def __init__(self, settings: Settings, engine: Engine, registry: ModelRegistry) -> None:
        self._settings, self._engine, self._registry = settings, engine, registry
        self._references: dict[str, Reference] = {}
        self._accepted: tuple[int, Reference] | None = None

    def check(self, event: Event, now: float) -> str:
        """Checks and stores; the outcome in a line. UnavailableError when a part of the loop is unavailable."""
        model, config = self._settings.model, self._settings.config
        registered = self._registry.model()
        version = None if registered is None else registered.aliases.get(CHAMPION)
        if version is None:
            return f"insufficient: {model} has no champion" + ("" if registered else ", it is not registered")
        until = now - self._settings.settle
        with transaction(self._engine) as connection:
            previous = previous_state(connection, model, version)
            # After the state: a baseline that is accepted in between takes the number that this check wants.
            accepted = self._accepted_baseline(connection, version)
        reference = accepted or self._reference(version)
        if isinstance(reference, Reason):
            if reference.code is previous.reason_code:
                return f"insufficient, as before: {reference}"
            state = previous.state
            result = CheckResult("insufficient", False, reference, version, 0, state.since, until, (), state)
        else:
            state = in_time(previous.state, now, until)
            if state is previous.state and state.since is not None and state.since >= until:
                return f"the window of version {version} is younger than {self._settings.settle:g} s"
            with transaction(self._engine) as connection:
                summary = measure(connection, reference, state, until)
            # A window that begins again after a clock was set back is stored immediately.
            if state is previous.state and not due(previous.reason_code is not None, previous.n, summary.n, config):
                return f"nothing new: {summary.n} answers in the window, {previous.n} at the last check"
            result = evaluate(reference, summary, state, until, config)
        trace = trace_of(event, "drift", model, version, result.window_start, previous.sequence + 1)
        with transaction(self._engine) as connection:
            since = drifted_since(connection, model, result)
        with transaction(self._engine) as connection:
            if not append(connection, model, previous.sequence + 1, result, since, trace, now):
                return "another check was quicker"
        return f"{result.verdict}{', alarm' if result.alarm else ''}: {result.reason}"

    def _accepted_baseline(self, connection: Connection, version: str) -> Reference | None:
        """The baseline that an operator accepted for the version; None without one."""
        row = baselines.in_force(connection, self._settings.model, version)
        if row is None:
            return None
        if self._accepted is None or self._accepted[0] != row.sequence:
            self._accepted = row.sequence, baselines.reference(connection, self._settings.model, row.sequence)
        return self._accepted[1]

    def _reference(self, version: str) -> Reference | Reason:
        """The version's reference, or why there is none to compare with."""
        if version not in self._references:
            params, by = {"version": version}, InitiatedBy.SCHEDULE
            content = self._registry.read(version, FILE)
            if content is None:
                return Reason(ReasonCode.REFERENCE_MISSING, params, initiated_by=by)
            try:
                self._references[version] = parse(content)
            except BadReferenceError as error:
                return Reason(ReasonCode.REFERENCE_UNUSABLE, params, (str(error),), initiated_by=by)
        return self._references[version]


def in_time(state: State, now: float, until: float) -> State:
    """The state, or one whose window opens at `until` where its own is ahead: our clock was set back, and drift must
    not be blind until it has caught up. Answers of the time in between that were checked before may count once more.
    """
    if state.since is None or state.since <= now + SKEW:
        return state
    alarmed = None if state.alarmed_at is None else min(state.alarmed_at, until)
    return replace(state, since=until, alarmed_at=alarmed)


def due(judged: bool, seen: int, n: int, config: Config) -> bool:
    """Whether `n` answers in the open window are worth another check, after `seen` at the last one."""
    if not judged or n >= config.enough or seen < config.min_sample <= n:
        return True
    return n > seen and n >= GROWTH * seen
