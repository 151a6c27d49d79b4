"""The loop at a glance: its parts, what went between them lately, what each waits for, what wants a person.

Read on a laptop as on a cluster: what cannot be asked there is a part's state `unseen`, and what did not answer is a
fact, too. Nothing here raises.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Literal, TypedDict

from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from functions.drift.settings import read_settings as drift_settings
from functions.retrain.settings import read_settings as retrain_settings
from functions.rollout.settings import read_settings as rollout_settings
from mcqa.readmodels import loop_attention, loop_parts, loop_stored, loop_waiting
from mcqa.readmodels.loop_attention import Want
from mcqa.readmodels.loop_counts import Flow
from mcqa.readmodels.loop_parts import Part
from mcqa.readmodels.loop_sources import Answer, Answers, Registry, Sources
from mcqa.readmodels.loop_stored import Settings, Stored
from mcqa.readmodels.rollout_history import Since


class Change(TypedDict):
    """The last promotion or rollback: `kind` is upgraded, rolled-back or aborted; `decision` its number in the log."""

    kind: str
    version: str | None
    at: float
    decision: int
    initiated_by: str


class Serving(TypedDict):
    """Which versions serve: `percent` is the challenger's share, None without a canary.

    `since` is the champion's. `from_registry`: by the registry's aliases, and else as the rollout saw them at
    `seen_at` (Unix seconds).
    """

    champion: str | None
    challenger: str | None
    previous: str | None
    percent: int | None
    from_registry: bool
    seen_at: float | None
    last_change: Change | None
    since: Since | None


class LoopOverview(TypedDict):
    """`read_at` in Unix seconds; `flows` is None where the database did not answer (`database_error`)."""

    read_at: float
    model: str
    place: Literal["laptop", "cluster"]
    up_for: float | None
    wants: list[Want]
    serving: Serving
    parts: list[Part]
    flows: list[Flow] | None
    database_error: str
    setting_error: str


_ADDRESSES = (
    "MCQA_DATABASE_URL",
    "KUBECONFIG",
    "MCQA_LOCAL_DIR",
    "MLFLOW_TRACKING_URI",
    "KFP_ENDPOINT",
    "K_SINK",
    "MCQA_NAMESPACE",
    "MCQA_INFERENCE_SERVICE",
    "MCQA_REGISTERED_MODEL",
)
_lock = threading.Lock()
_kept: dict[tuple[str | None, ...], Sources] = {}
"""By the addresses: a process has one environment, tests have several."""


def read(environ: Mapping[str, str]) -> LoopOverview:
    """The facts now. A setting that is not usable is in `setting_error`."""
    now = time.time()
    sources = _sources(environ)
    answers = sources.ask()
    try:
        settings: Settings | None = Settings(
            drift_settings(environ), retrain_settings(environ), rollout_settings(environ)
        )
        setting_error = ""
    except ValueError as error:
        settings, setting_error = None, str(error)
    registry: Registry | None = answers.registry.value
    made = registry.champion_made if registry else None
    database = Answer(error=setting_error)
    if settings is not None:
        database = sources.stored(partial(loop_stored.read, settings=settings, now=now, champion_made=made))
    stored: Stored | None = database.value
    parts = loop_parts.read(answers, database)
    if stored is not None and settings is not None:
        champion = registry.aliases.get(CHAMPION) if registry else None
        waiting = loop_waiting.by_part(stored, settings, champion, now)
        for part in parts:
            part["waiting_for"] = waiting.get(part["name"]) or loop_waiting.asleep(part)
    return {
        "read_at": now,
        "model": settings.rollout.model if settings else "",
        "place": "laptop" if sources.on_laptop else "cluster",
        "up_for": (answers.supervisor.value or {}).get("up_for"),
        "wants": loop_attention.read(answers, parts, stored, settings, now),
        "serving": _serving(answers, stored),
        "parts": parts,
        "flows": None if stored is None else list(stored.flows),
        "database_error": database.error,
        "setting_error": setting_error,
    }


def _sources(environ: Mapping[str, str]) -> Sources:
    addresses = tuple(map(environ.get, _ADDRESSES))
    with _lock:
        if addresses not in _kept:  # to make one is slow: an HTTP client reads the certificates that it trusts
            _kept[addresses] = Sources(dict(environ))
        return _kept[addresses]


def _serving(answers: Answers, stored: Stored | None) -> Serving:
    registry: Registry | None = answers.registry.value
    look = stored.look if stored is not None else None
    seen = (
        registry.aliases
        if registry
        else {CHAMPION: (look or {}).get("champion"), CHALLENGER: (look or {}).get("challenger")}
    )
    change = stored.last_change if stored is not None else None
    under_way = stored is not None and stored.rollout is not None
    return {
        "champion": seen.get(CHAMPION),
        "challenger": seen.get(CHALLENGER),
        "previous": seen.get(PREVIOUS_CHAMPION),
        "percent": (look or {}).get("percent") if under_way else None,
        "from_registry": registry is not None,
        "seen_at": look["at"] if look else None,
        # The log's champion is another while an alias has just moved.
        "since": stored.since if stored is not None and seen.get(CHAMPION) == stored.champion else None,
        "last_change": None
        if change is None
        else {
            "kind": change.announces,
            "version": change.champion if change.announces == "upgraded" else change.challenger,
            "at": change.at,
            "decision": change.number,
            "initiated_by": change.initiated_by,
        },
    }
