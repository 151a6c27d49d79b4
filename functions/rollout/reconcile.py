"""One look at the rollout: read everything, decide, act, until there is nothing to do at once.

Order within a step, for a kill between any two: the decision is noted, then carried out, then (at the end of the look)
announced. Noted and not carried out: the next look decides the same, which is no new row. Carried out and not
announced: the row says so, and the next look announces it under the same event ids.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine

from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry
from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from functions.collect.queries import step_evidence
from functions.database import transaction
from functions.events import Event
from functions.rollout import announce, store
from functions.rollout.analysis import Analysis, analyse
from functions.rollout.decision import decide
from functions.rollout.lock import only_one
from functions.rollout.serving import Cluster, ConflictError, Observed
from functions.rollout.settings import Settings
from functions.rollout.world import (
    ROLLOUT_TAG,
    Action,
    Decision,
    DeleteAlias,
    Finding,
    Hold,
    Record,
    Registry,
    Rollout,
    SetAlias,
    SetPercent,
    SetSpec,
    SetTag,
    StepRecord,
    Version,
    Wait,
    World,
)

MAX_WRITES = 20
"""Of one look. A whole promotion has about fifteen."""

SETTLE_SECONDS = 1.0
"""How long a look waits for the controllers after its own change: mostly that saves a whole tick."""
_SETTLE_PAUSE = 0.05


class EventSink(Protocol):
    def send(self, event: Event) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a look works with."""

    settings: Settings
    engine: Engine
    registry: ModelRegistry
    cluster: Cluster
    sink: EventSink
    clock: Callable[[], float] = time.time


@dataclass(slots=True)
class _Evidence:
    """The analysis of a rollout's steps, made once a look and again when the steps have changed."""

    rollout: Rollout | None = None
    analysis: Analysis | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    world: World
    observed: Observed
    analysis: Analysis | None
    trace: str | None


def reconcile(parts: Parts, trace: str | None) -> Decision:
    """The decision that the look ended with: a Wait or a Hold.

    `trace` is the traceparent of what asked for the look; a challenger's own goes before it. UnavailableError when
    something needed is away: then this look is to be repeated.
    """
    with only_one(parts.engine, parts.settings.model):
        decision = _until_quiet(parts, trace)
        _tell(parts)
    return decision


def _until_quiet(parts: Parts, trace: str | None) -> Decision:
    evidence = _Evidence()
    for _ in range(MAX_WRITES):
        seen = _look(parts, evidence, trace)
        decision = decide(seen.world, parts.settings.decision)
        _note(parts, seen, decision)
        if isinstance(decision.action, Wait | Hold):
            return decision
        try:
            _act(parts, decision.action, seen.observed)
        except ConflictError:
            return Decision(Wait(), decision.phase, "the InferenceService changed meanwhile: next look")
        if isinstance(decision.action, SetSpec | SetPercent):
            _settle(parts)
    raise UnavailableError(f"the rollout did not come to rest within {MAX_WRITES} changes; the next look goes on")


def _look(parts: Parts, evidence: _Evidence, trace: str | None) -> _Seen:
    registry = _registry(parts.registry)
    observed = parts.cluster.look()
    now, model = parts.clock(), parts.settings.model
    with transaction(parts.engine) as connection:
        rollout, wish = store.read_record(connection, model), store.read_wish(connection, model)
        challenger = registry.challenger
        if wish and (challenger is None or wish.challenger != challenger.version or challenger.rolled_back):
            store.clear_wish(connection, model)  # void; it must not come alive when that version is tried again
            wish = None
    finding = _find(parts, evidence, rollout, now)
    versions = (registry.challenger, registry.champion)
    own = next((v.tags["traceparent"] for v in versions if v is not None and v.tags.get("traceparent")), None)
    world = World(registry, observed.serving, rollout, finding, wish, now)
    return _Seen(world, observed, evidence.analysis, own or trace)


def _registry(registry: ModelRegistry) -> Registry:
    model = registry.model()
    aliases = model.aliases if model is not None else {}

    def version(alias: str) -> Version | None:
        found = registry.version(aliases[alias]) if alias in aliases else None
        return None if found is None else Version(found.version, found.tags)

    champion = version(CHAMPION)
    same = champion is not None and aliases.get(CHALLENGER) == champion.version
    return Registry(champion, champion if same else version(CHALLENGER), aliases.get(PREVIOUS_CHAMPION))


def _find(parts: Parts, evidence: _Evidence, rollout: Rollout | None, now: float) -> Finding | None:
    steps: tuple[StepRecord, ...] = () if rollout is None else tuple(s for s in rollout.steps if s.percent > 0)
    if rollout is None or not steps:
        evidence.rollout = evidence.analysis = None
        return None
    if evidence.analysis is None or evidence.rollout != rollout:
        with transaction(parts.engine) as connection:
            found = step_evidence(connection, steps, rollout.champion, rollout.challenger, now, parts.settings.deadline)
        evidence.rollout, evidence.analysis = rollout, analyse(found, now, parts.settings.analysis)
    analysis = evidence.analysis
    return Finding(rollout.challenger, steps[-1].percent, analysis.verdict, analysis.reason)


def _act(parts: Parts, action: Action, observed: Observed) -> None:
    match action:
        case SetSpec() | SetPercent():
            parts.cluster.change(action, observed.resource_version)
        case SetTag(version, value):
            parts.registry.set_tag(version, ROLLOUT_TAG, value)
        case SetAlias(alias, version):
            parts.registry.set_alias(alias, version)
        case DeleteAlias(alias):
            parts.registry.delete_alias(alias)
        case Record(rollout):
            with transaction(parts.engine) as connection:
                store.write_record(connection, parts.settings.model, rollout)


def _settle(parts: Parts) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_SETTLE_PAUSE)
        serving = parts.cluster.look().serving
        if serving is None or serving.settled:
            return


def _note(parts: Parts, seen: _Seen, decision: Decision) -> None:
    """Overwrites the look, and appends to the log what is another decision than the last."""
    row = describe(decision, seen.world, seen.observed.generation)
    row["evidence"] = None
    if seen.analysis is not None and (compared := seen.world.rollout) is not None:
        # Their names besides: an alias may be gone while the evidence on its version is still shown.
        names = {"champion": compared.champion, "challenger": compared.challenger}
        row["evidence"] = {**store.plain_json(seen.analysis.to_dict()), **names}
    serving, now, model = seen.world.serving, seen.world.now, parts.settings.model
    with transaction(parts.engine) as connection:
        look = {name: row[name] for name in ("phase", "action", "reason", "champion", "challenger", "evidence")}
        look |= {"at": now, "percent": row["percent"], "version": serving.version if serving else None}
        store.write_look(connection, model, look)
        last = store.last_decision(connection, model)
        if last is None or identity(last) != identity(row):
            kind = announce.kind_of(decision)
            store.append_decision(connection, model, {**row, "at": now, "trace": seen.trace, "announces": kind})


def describe(decision: Decision, world: World, generation: str) -> dict[str, Any]:
    """A decision as a row of the log, without its time."""
    registry, serving = world.registry, world.serving
    return {
        "phase": decision.phase,
        "action": action_text(decision.action),
        "reason": decision.reason,
        "champion": registry.champion.version if registry.champion else None,
        "challenger": registry.challenger.version if registry.challenger else None,
        "percent": serving.percent if serving else None,
        "generation": generation,
    }


def identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Two rows in a row with the same identity are one decision: the words of a reason count, its numbers do not."""
    names = ("phase", "action", "champion", "challenger", "generation")
    words = re.sub(r"\d[\d.]*", "#", row["reason"].partition(": ")[0])
    return (*(row[name] for name in names), words)


def action_text(action: Action) -> str:
    """An action in words: what the log and `mcqa rollout status` show."""
    match action:
        case SetSpec(version, percent):
            return f"pin version {version}, {_share(percent)}"
        case SetPercent(percent):
            return f"set {_share(percent)}"
        case SetTag(version, value):
            return f"tag version {version} {value.partition(':')[0]}"
        case SetAlias(alias, version):
            return f"alias {alias} to version {version}"
        case DeleteAlias(alias):
            return f"remove alias {alias}"
        case Record(rollout):
            return "forget the rollout" if rollout is None else f"record {rollout.steps[-1].percent} %"
        case Wait():
            return "wait"
        case Hold():
            return "hold"


def _share(percent: int | None) -> str:
    return "all traffic" if percent is None else f"{percent} % of the traffic"


def _tell(parts: Parts) -> None:
    """Sends what is still to be announced; what ended before its patience did is not worth telling."""
    now, model = parts.clock(), parts.settings.model
    with transaction(parts.engine) as connection:
        rows, last = store.untold(connection, model), store.last_decision(connection, model)
    for row in rows:
        stands = last is not None and last["number"] == row["number"]
        patience = announce.patience(row, parts.settings)
        if stands and now - row["at"] < patience:
            continue
        if stands or not patience:
            for event in announce.announce(row, parts.settings):
                parts.sink.send(event)
        with transaction(parts.engine) as connection:
            store.mark_told(connection, row["number"], now)
