"""One reconciliation of the rollout: read everything, decide, act, until there is nothing to do at once.

Order within a step, for a kill between any two: the decision is logged, then carried out, then (at the end)
announced. Logged and not carried out: the next reconciliation decides the same, which adds no row. Carried out and
not announced: the row says so, and the next one announces it under the same event ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry
from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from functions.database import transaction
from functions.events import Event
from functions.reasons import Reason
from functions.rollout import announce, measurements, overrides, store
from functions.rollout.actions import (
    Action,
    Decision,
    DeleteAlias,
    Hold,
    Record,
    SetAlias,
    SetPercent,
    SetSpec,
    SetTag,
    Wait,
)
from functions.rollout.analysis import AnalysisResult, analyse
from functions.rollout.decision import decide
from functions.rollout.inference_service import ConflictError, InferenceServiceClient, ObservedInferenceService
from functions.rollout.lock import single_writer
from functions.rollout.queries import step_evidence
from functions.rollout.reasons import ReasonCode
from functions.rollout.settings import Settings
from functions.rollout.state import DesiredState, ModelVersion, Rollout, RolloutState, StepAnalysis, StepRecord
from functions.rollout.version_tag import ROLLOUT_TAG

MAX_WRITES = 20
"""Of one reconciliation. A whole promotion has about fifteen."""

NEW_SECONDS = 60.0
"""For so long a loop may have nothing deployed before that is a fault: its first version is registered before its
InferenceService is applied, and MLflow's webhooks report it at once."""

SETTLE_SECONDS = 1.0
"""How long a reconciliation waits for the controllers after its own change: usually that saves a whole tick."""
_SETTLE_PAUSE = 0.05


class EventSink(Protocol):
    def send(self, event: Event) -> None: ...


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The adapters that a reconciliation works with."""

    settings: Settings
    engine: Engine
    registry: ModelRegistry
    inference_service: InferenceServiceClient
    sink: EventSink
    clock: Callable[[], float] = time.time


@dataclass(slots=True)
class _AnalysisCache:
    """The analysis of a rollout's steps, made once per reconciliation and again when the steps have changed."""

    rollout: Rollout | None = None
    result: AnalysisResult | None = None


@dataclass(frozen=True, slots=True)
class _Observation:
    state: RolloutState
    inference_service: ObservedInferenceService
    analysis: AnalysisResult | None
    trace: str | None


def reconcile(deps: Dependencies, trace: str | None) -> Decision:
    """The decision that it ended with: a Wait or a Hold.

    `trace` is the traceparent of what asked for it; a challenger's own takes precedence. UnavailableError when
    something needed is unavailable: then it is to be repeated.
    """
    with single_writer(deps.engine, deps.settings.model):
        decision = _until_quiet(deps, trace)
        _announce(deps)
    return decision


def _until_quiet(deps: Dependencies, trace: str | None) -> Decision:
    cache = _AnalysisCache()
    for _ in range(MAX_WRITES):
        observation = _observe(deps, cache, trace)
        decision = decide(observation.state, deps.settings.decision)
        _log(deps, observation, decision)
        if isinstance(decision.action, Wait | Hold):
            return decision
        try:
            _act(deps, decision.action, observation.inference_service)
        except ConflictError:
            return Decision(Wait(), decision.phase, Reason(ReasonCode.CONFLICT))
        if isinstance(decision.action, SetSpec | SetPercent):
            _settle(deps)
    raise UnavailableError(f"the rollout did not settle within {MAX_WRITES} changes; the next reconciliation continues")


def _observe(deps: Dependencies, cache: _AnalysisCache, trace: str | None) -> _Observation:
    desired = _desired_state(deps.registry)
    observed = deps.inference_service.observe()
    now, model = deps.clock(), deps.settings.model
    with transaction(deps.engine) as connection:
        rollout, override = store.read_record(connection, model), overrides.read(connection, model)
        is_new = _is_new(store.last_decision(connection, model), now)
        challenger = desired.challenger
        if override and (challenger is None or override.challenger != challenger.version or challenger.rolled_back):
            overrides.clear(connection, model)  # void; it must not come alive when that version is tried again
            override = None
    analysis = _analyse(deps, cache, rollout, now)
    versions = (desired.challenger, desired.champion)
    own = next((v.tags["traceparent"] for v in versions if v is not None and v.tags.get("traceparent")), None)
    state = RolloutState(desired, observed.serving, rollout, analysis, override, now, is_new)
    return _Observation(state, observed, cache.result, own or trace)


def _is_new(last: Mapping[str, Any] | None, now: float) -> bool:
    """By the log: nothing was decided so far, or only that nothing is deployed yet."""
    if last is None:
        return True
    return bool(last["reason_code"] == ReasonCode.NOTHING_DEPLOYED and now - last["at"] < NEW_SECONDS)


def _desired_state(registry: ModelRegistry) -> DesiredState:
    model = registry.model()
    aliases = model.aliases if model is not None else {}

    def version(alias: str) -> ModelVersion | None:
        registered = registry.version(aliases[alias]) if alias in aliases else None
        return None if registered is None else ModelVersion(registered.version, registered.tags)

    champion = version(CHAMPION)
    same = champion is not None and aliases.get(CHALLENGER) == champion.version
    return DesiredState(champion, champion if same else version(CHALLENGER), aliases.get(PREVIOUS_CHAMPION))


def _analyse(deps: Dependencies, cache: _AnalysisCache, rollout: Rollout | None, now: float) -> StepAnalysis | None:
    steps: tuple[StepRecord, ...] = () if rollout is None else tuple(s for s in rollout.steps if s.percent > 0)
    if rollout is None or not steps:
        cache.rollout = cache.result = None
        return None
    if cache.result is None or cache.rollout != rollout:
        with transaction(deps.engine) as connection:
            versions = (rollout.champion, rollout.challenger)
            evidence = step_evidence(connection, steps, *versions, now, deps.settings.deadline)
        cache.rollout, cache.result = rollout, analyse(evidence, now, deps.settings.analysis)
    return StepAnalysis(rollout.challenger, steps[-1].percent, cache.result.verdict, cache.result.details)


def _act(deps: Dependencies, action: Action, observed: ObservedInferenceService) -> None:
    match action:
        case SetSpec() | SetPercent():
            deps.inference_service.patch(action, observed.resource_version)
        case SetTag(version, tag):
            deps.registry.set_tag(version, ROLLOUT_TAG, tag.encode())
        case SetAlias(alias, version):
            deps.registry.set_alias(alias, version)
        case DeleteAlias(alias):
            deps.registry.delete_alias(alias)
        case Record(rollout):
            with transaction(deps.engine) as connection:
                store.write_record(connection, deps.settings.model, rollout)


def _settle(deps: Dependencies) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_SETTLE_PAUSE)
        serving = deps.inference_service.observe().serving
        if serving is None or serving.settled:
            return


def _log(deps: Dependencies, observation: _Observation, decision: Decision) -> None:
    """Overwrites the status, and appends a decision that differs from the last to the log."""
    state = observation.state
    row = to_row(decision, state, observation.inference_service.generation)
    row["evidence"] = None
    if observation.analysis is not None and (compared := state.rollout) is not None:
        # With their names: an alias may be gone while the evidence on its version is still shown.
        names = {"champion": compared.champion, "challenger": compared.challenger}
        row["evidence"] = {**store.plain_json(observation.analysis.to_dict()), **names}
    model = deps.settings.model
    with transaction(deps.engine) as connection:
        if row["evidence"] is not None and state.rollout is not None:
            _keep_measurement(connection, model, row["evidence"], state.rollout, state.now)
        status = {name: value for name, value in row.items() if name != "generation"}
        status |= {"at": state.now, "version": state.serving.version if state.serving else None}
        store.write_status(connection, model, status)
        last = store.last_decision(connection, model)
        if last is None or identity(last) != identity(row):
            kind = announce.kind_of(decision)
            row |= {"at": state.now, "trace": observation.trace, "announces": kind}
            store.append_decision(connection, model, row)


def _keep_measurement(
    connection: Connection, model: str, evidence: Mapping[str, Any], rollout: Rollout, now: float
) -> None:
    step = rollout.steps[-1]
    measured = {name: evidence[name] for name in ("champion", "challenger", "verdict", "measures")}
    measurements.keep(connection, model, {**measured, "at": now, "percent": step.percent}, step)


def to_row(decision: Decision, state: RolloutState, generation: str) -> dict[str, Any]:
    """A decision as a row of the log, without its time and evidence."""
    desired, serving = state.desired, state.serving
    return {
        "phase": decision.phase,
        "action": str(decision.action),
        "action_type": str(decision.action.type),
        **decision.reason.to_columns(),
        "champion": desired.champion.version if desired.champion else None,
        "challenger": desired.challenger.version if desired.challenger else None,
        "percent": serving.percent if serving else None,
        "generation": generation,
    }


def identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Consecutive rows with the same identity are one decision, whatever the figures and details of its reason.

    That nothing is deployed yet is one, whatever the registry holds by then.
    """
    if row["reason_code"] == ReasonCode.NOTHING_DEPLOYED:
        return (row["reason_code"],)
    return tuple(row[name] for name in ("phase", "action", "reason_code", "champion", "challenger", "generation"))


def _announce(deps: Dependencies) -> None:
    """Sends what is still to be announced; a decision that did not last for its patience is left out."""
    now, model = deps.clock(), deps.settings.model
    with transaction(deps.engine) as connection:
        rows, last = store.unannounced(connection, model), store.last_decision(connection, model)
    for row in rows:
        stands = last is not None and last["number"] == row["number"]
        patience = announce.patience(row, deps.settings)
        if stands and now - row["at"] < patience:
            continue
        if stands or not patience:
            for event in announce.announce(row, deps.settings):
                deps.sink.send(event)
        with transaction(deps.engine) as connection:
            store.mark_announced(connection, row["number"], now)
