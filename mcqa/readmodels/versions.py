"""The registry's versions: aliases, where each comes from, what the gate and the canary said, its card and prior.

A version is read in parts, each from one place and each by itself: the registry (`listing`, `one`), the retraining's
runs in MLflow (`record`), the loop's database (`cause`), the version's own files (`files`). Accuracy and calibration
are in readmodels/evaluations.py. Everything comes over MLflow's REST API and SQL; all functions raise SettingError for
bad settings and UnavailableError where their one place does not answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from common import links
from common.environment import text
from common.gate_tag import GATE_TAG, GateTag, Verdict
from common.mlflow.runs import BOOTSTRAP_KEY
from common.model_card import ModelCard
from common.names import MODEL

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from common.mlflow.registry import ModelRegistry, RegisteredVersion
    from common.mlflow.runs import Run

Json = dict[str, Any]
Origin = Literal["bootstrap", "retraining", "other"]
PAGE = 25
ALARMS = 50
"""Alarms of the champion among which the one that caused a retraining is looked for."""
CARD, PRIOR = "card.json", "calibration.json"
MAX_FILE = 1_000_000
RUNS = 30
"""Runs of one retraining; it has one per step."""


class Rollout(TypedDict):
    """How its canary ended, as codes. `champion` is the version it ran against, "" where the tag does not say."""

    outcome: str
    champion: str
    reason_code: str
    initiated_by: str
    text: str


class VersionLine(TypedDict):
    """`created` in Unix seconds. `champion` is what it was trained from and compared with; None for a first version.

    `gate` and `rollout` are None where nothing was decided. `reason` is a text for people, as the loop wrote it.
    """

    version: str
    aliases: list[str]
    created: float
    origin: Origin
    champion: str | None
    gate: Verdict | None
    rollout: Rollout | None
    reason: str
    data_digest: str | None


class RegistryFacts(TypedDict):
    """The newest versions first. `older` is the number to give as `before` for the next ones, None at the end."""

    model: str
    aliases: dict[str, str]
    versions: list[VersionLine]
    older: int | None


class VersionFacts(VersionLine):
    """What the registry itself says of one version.

    `signature` is None: versions are not signed. `not_offered` says why a version that passed was not tried.
    """

    model: str
    description: str
    subjects: list[str]
    source: str | None
    commit: str | None
    run_key: str | None
    run_id: str | None
    pipeline_run: str | None
    drift_event: str | None
    traceparent: str | None
    gate_reason: str
    not_offered: str | None
    signature: str | None
    page: str
    pipeline_page: str


class Step(TypedDict):
    """One step's run. Times in Unix seconds; `ended` is None while it runs, `error` one line or ""."""

    name: str
    status: str
    started: float
    ended: float | None
    error: str
    page: str


class GateCheck(TypedDict):
    """`code` says why it came out so; `reason` is the gate's sentence, `numbers` what it rests on."""

    name: str
    verdict: Verdict
    code: str
    reason: str
    numbers: dict[str, float | int | None]


class Record(TypedDict):
    """The retraining's runs. `checks` is None where the gate left none; `data` are counts and parameters by name."""

    steps: list[Step]
    data: dict[str, str]
    verdict: Verdict | None
    checks: list[GateCheck] | None


class DriftAlarm(TypedDict):
    sequence: int
    checked_at: float
    version: str
    n: int
    reason: str
    reason_code: str


class Cause(TypedDict):
    """Who or what asked for the retraining. `alarm` is None where no drift did, or its check is no longer stored."""

    requested_at: float
    state: str
    reason_code: str
    initiated_by: str
    reason: str
    event_source: str
    event_id: str
    alarm: DriftAlarm | None


class Card(TypedDict):
    """What its maker claims: `stems` counts the question texts, `accuracy` has value, low, high and questions."""

    title: str
    subjects: list[str]
    stems: int
    accuracy: dict[str, float] | None


class Prior(TypedDict):
    """The letter prior by number of choices, in the letters' order, measured on `questions`."""

    questions: int
    priors: dict[int, list[float]]


class Files(TypedDict):
    """`unreadable` names the files that are there and hold something else."""

    card: Card | None
    prior: Prior | None
    unreadable: list[str]


def registry(environ: Mapping[str, str]) -> ModelRegistry:
    from common.mlflow.registry import ModelRegistry

    return ModelRegistry(environ, text(environ, "MCQA_REGISTERED_MODEL", MODEL))


def listing(environ: Mapping[str, str], before: int | None = None, most: int = PAGE) -> RegistryFacts:
    """The `most` newest versions; of those below number `before`, where it is given."""
    with registry(environ) as client:
        model = client.model()
        aliases = dict(model.aliases) if model else {}
        found = client.versions(most + 1, before) if model else []
    shown = found[:most]
    return {
        "model": client.model_name,
        "aliases": aliases,
        "versions": [_line(version, aliases) for version in shown],
        "older": int(shown[-1].version) if len(found) > most else None,
    }


def one(environ: Mapping[str, str], version: str) -> VersionFacts | None:
    """None when there is no such version."""
    if not version.isascii() or not version.isdigit():
        return None
    with registry(environ) as client:
        model = client.model()
        found = client.version(version) if model else None
    if found is None or model is None:
        return None
    tags = found.tags
    gate = GateTag.decode(tags.get(GATE_TAG))
    return {
        **_line(found, model.aliases),
        "model": client.model_name,
        "description": found.description,
        "subjects": [subject for subject in tags.get("subjects", "").split(",") if subject],
        "source": tags.get("source"),
        "commit": tags.get("commit"),
        "run_key": tags.get("run_key"),
        "run_id": found.run_id,
        "pipeline_run": tags.get("pipeline_run"),
        "drift_event": tags.get("drift_event"),
        "traceparent": tags.get("traceparent"),
        "gate_reason": gate.reason if gate else "",
        "not_offered": tags.get("not_offered"),
        "signature": None,
        "page": links.mlflow_version(environ, client.model_name, found.version),
        "pipeline_page": links.pipeline_run(environ, tags["pipeline_run"]) if tags.get("pipeline_run") else "",
    }


def record(environ: Mapping[str, str], run_key: str) -> Record:
    """The retraining of this key, oldest step first; no steps where MLflow has no run of it."""
    from common.mlflow import runs

    with registry(environ) as client:
        found = runs.search(client, f"tags.{runs.RUN_KEY_TAG} = {runs.quoted(run_key)}", RUNS)
        by_step = {run.tags.get(runs.STEP_TAG, ""): run for run in reversed(found)}
        gate = by_step.get(runs.GATE_STEP)
        content = None if gate is None else runs.read_file(client, gate, runs.GATE_FILE, MAX_FILE)
    steps = sorted((run for name, run in by_step.items() if name), key=lambda run: run.started)
    tag = GateTag.decode(gate.tags.get(GATE_TAG)) if gate else None
    collected = by_step.get("collect-data")
    return {
        "steps": [_step(environ, run) for run in steps if run.tags.get(runs.STEP_TAG) != runs.PIPELINE_STEP],
        "data": _data(collected) if collected else {},
        "verdict": tag.verdict if tag else None,
        "checks": None if content is None else _checks(content),
    }


def cause(environ: Mapping[str, str], run_key: str) -> Cause | None:
    """None where the loop's database knows no retraining of this key."""
    from functions.database import connect, transaction
    from functions.retrain.store import find

    with transaction(connect(environ)) as connection:
        row = find(connection, run_key)
        alarm = None if row is None else _alarm(connection, row)
    if row is None:
        return None
    return {
        "requested_at": row.created_at,
        "state": row.state,
        "reason_code": row.reason_code,
        "initiated_by": row.initiated_by,
        "reason": row.reason,
        "event_source": row.drift_source,
        "event_id": row.drift_id,
        "alarm": alarm,
    }


def files(environ: Mapping[str, str], version: str) -> Files:
    """The version's card and letter prior."""
    with registry(environ) as client:
        contents = client.read_files(version, (CARD, PRIOR), MAX_FILE)
    card = _card(contents[CARD]) if CARD in contents else None
    prior = _prior(contents[PRIOR]) if PRIOR in contents else None
    read = {CARD: card, PRIOR: prior}
    return {"card": card, "prior": prior, "unreadable": [name for name in contents if read[name] is None]}


def _line(version: RegisteredVersion, aliases: Mapping[str, str]) -> VersionLine:
    from functions.rollout.version_tag import ROLLOUT_TAG, RolloutTag

    tags = version.tags
    gate = GateTag.decode(tags.get(GATE_TAG))
    ended = RolloutTag.decode(tags.get(ROLLOUT_TAG))
    bootstrapped = tags.get("run_key") == BOOTSTRAP_KEY
    return {
        "version": version.version,
        "aliases": sorted(alias for alias, named in aliases.items() if named == version.version),
        "created": version.created,
        "origin": "bootstrap" if bootstrapped else "retraining" if tags.get("champion") else "other",
        "champion": tags.get("champion"),
        "gate": gate.verdict if gate else None,
        "rollout": _rollout(ended) if ended else None,
        "reason": tags.get("reason") or (tags.get("source", "") if bootstrapped else ""),
        "data_digest": tags.get("data_digest"),
    }


def _rollout(tag: Any) -> Rollout:
    return {
        "outcome": tag.outcome.name.lower().replace("_", "-"),
        "champion": tag.champion,
        "reason_code": str(tag.reason_code),
        "initiated_by": str(tag.initiated_by),
        "text": tag.text,
    }


def _step(environ: Mapping[str, str], run: Run) -> Step:
    return {
        "name": run.tags.get("step", run.name),
        "status": run.status,
        "started": run.started,
        "ended": run.ended,
        "error": run.tags.get("error", ""),
        "page": links.mlflow_run(environ, run.experiment_id, run.run_id),
    }


def _data(run: Run) -> dict[str, str]:
    counts = {name: f"{value:g}" for name, value in run.metrics.items()}
    kept = ("since", "until", "seed", "data_digest")
    return {**counts, **{name: run.params[name] for name in kept if name in run.params}}


def _checks(content: bytes) -> list[GateCheck] | None:
    """The checks of a gate.json; None for anything else."""
    try:
        return [
            {
                "name": str(check["name"]),
                "verdict": check["verdict"],
                "code": str(check["code"]),
                "reason": str(check["reason"]),
                "numbers": dict(check["numbers"]),
            }
            for check in json.loads(content)["checks"]
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _alarm(connection: Connection, run: Row[Any]) -> DriftAlarm | None:
    """The check whose alarm asked for the retraining: the one that makes the event's id."""
    from sqlalchemy import select

    from common.event_types import DRIFT_DETECTED
    from functions.drift.announce import event_id
    from functions.drift.tables import DriftCheck

    of_event = (DriftCheck.model, DriftCheck.version, DriftCheck.window_start, DriftCheck.window_end)
    shown = (DriftCheck.sequence, DriftCheck.checked_at, DriftCheck.n, DriftCheck.reason, DriftCheck.reason_code)
    newest = (
        select(*of_event, *shown)
        .where(DriftCheck.model == run.model, DriftCheck.version == run.champion, DriftCheck.alarm)
        .order_by(DriftCheck.sequence.desc())
        .limit(ALARMS)
    )
    for row in connection.execute(newest):
        if event_id(DRIFT_DETECTED, row) == run.drift_id:
            return {
                "sequence": row.sequence,
                "checked_at": row.checked_at,
                "version": row.version,
                "n": row.n,
                "reason": row.reason,
                "reason_code": row.reason_code,
            }
    return None


def _card(content: bytes) -> Card | None:
    try:
        card = ModelCard.parse(json.loads(content))
    except (ValueError, RecursionError, AttributeError):
        return None
    if card is None:
        return None
    return {
        "title": card.title,
        "subjects": list(card.subjects),
        "stems": len(card.stems),
        "accuracy": asdict(card.accuracy) if card.accuracy else None,
    }


def _prior(content: bytes) -> Prior | None:
    try:
        data = json.loads(content)
        priors = {int(k): [float(p) for p in values] for k, values in data["letter_prior"].items()}
        return {"questions": int(data.get("questions", 0)), "priors": dict(sorted(priors.items()))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
