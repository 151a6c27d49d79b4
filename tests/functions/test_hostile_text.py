"""Free text decides nothing: sentences that sound like the loop's own flow through every free-text field, and no
decision, event type, exit code, incident or notification differs from what harmless text leads to.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from sqlalchemy import Engine, event
from typer.testing import CliRunner

from common.event_types import DRIFT_DETECTED, PING, RETRAINING_REQUESTED
from common.gate_tag import GateTag
from common.mlflow.registry import RegisteredModel, RegisteredVersion
from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from functions.database import engine, transaction
from functions.drift.announce import events_of as drift_events
from functions.drift.decision import Config as DriftConfig
from functions.drift.decision import State, evaluate
from functions.drift.reasons import ReasonCode as DriftCode
from functions.drift.reference import FeatureReference, Reference
from functions.drift.store import append, checks, drifted_since
from functions.drift.window import Distance, Summary
from functions.events import Event, parse_json
from functions.migrate import migrate
from functions.notify.message import build
from functions.reasons import InitiatedBy, Reason, read_reason
from functions.retrain import reconcile as retraining
from functions.retrain import store as retrain_store
from functions.retrain.decision import read_drift, read_request
from functions.retrain.settings import Settings as RetrainSettings
from functions.rollout import overrides, store
from functions.rollout import reconcile as rollout
from functions.rollout.actions import SetPercent, SetSpec
from functions.rollout.analysis import AnalysisResult
from functions.rollout.inference_service import ObservedInferenceService
from functions.rollout.observed_state import observe_serving
from functions.rollout.reasons import ReasonCode
from functions.rollout.settings import Settings
from functions.rollout.state import Override
from functions.rollout.version_tag import ROLLOUT_TAG, Outcome, RolloutTag
from mcqa.rollout import rollout_app
from mcqa.verbs import Group
from pipelines.retraining.steps.report import outcome
from tools.ci.promotion import ObservedState, judge

HARMLESS = "numbers"
HOSTILE = (
    "Deployment was scaled to zero by the operator",
    "held at 10 % by the operator; promoted by the operator, without its canary; aborted by the operator",
    "rolled back from 1 (aborted by operator): aborted by the operator",
    "passed over 1",
    "promoted over 1",
    "; record 0 %; wait; hold; set all traffic; pin version 2, 0 % of the traffic",
    "pass: improvement; fail; inconclusive",
    "no version was registered: the gate did not pass the challenger",
    "step x failed; the run was canceled; the run is gone from the pipeline server",
    "a newer drift of version 1 is known; weekly",
    "{version} {0} {percent!r} %s %(reason)s",
    "two\nlines: and a\x00 nul \u2028 too",
)
FATES = ("pass", "fail", "inconclusive", "never ready", "abort", "hold", "promote", "abort before it starts")
MINUTE = 60.0


@dataclass
class FakeRegistry:
    """MLflow with one model; every tag that is not the loop's own holds `text`."""

    text: str
    aliases: dict[str, str] = field(default_factory=lambda: {CHAMPION: "1"})
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    model_name: str = "m"

    def __enter__(self) -> FakeRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def model(self) -> RegisteredModel:
        return RegisteredModel("m", dict(self.aliases), {"description": self.text})

    def version(self, version: str) -> RegisteredVersion:
        free = dict.fromkeys(("description", "reason", "gate", "source", "note", "not_offered"), self.text)
        return RegisteredVersion(version, {**free, **self.tags.get(version, {})}, created=1.0)

    def versions(self) -> list[RegisteredVersion]:
        return [self.version(version) for version in ("2", "1")]

    def set_tag(self, version: str, key: str, value: str) -> None:
        self.tags.setdefault(version, {})[key] = value

    def set_alias(self, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def delete_alias(self, alias: str) -> None:
        self.aliases.pop(alias, None)


@dataclass
class FakeInferenceService:
    """The Kubernetes objects of an InferenceService whose controllers are done at once; conditions say `text`."""

    text: str
    never_ready: str = ""
    spec: tuple[str, int | None] = ("1", None)
    generation: int = 1
    versions: list[str] = field(default_factory=lambda: ["1"])
    stable: str = "1"

    def observe(self) -> ObservedInferenceService:
        version, percent = self.spec
        if self.versions[-1] != version:
            self.versions.append(version)
        ready = version != self.never_ready
        if ready and percent in (None, 100):
            self.stable = version
        names = {v: f"m-{number}" for number, v in enumerate(dict.fromkeys(self.versions))}
        part = {
            "latestCreatedRevision": names[version],
            "latestReadyRevision": names[version if ready else self.stable],
            "latestRolledoutRevision": names[self.stable],
            "traffic": [],
        }
        condition = {"type": "Ready", "status": str(ready), "message": self.text, "reason": self.text}
        annotations = {"annotations": {"coding-mcqa/model-version": version}}
        predictor = {**annotations, "model": {"storageUri": f"mlflow://m/{version}"}, "canaryTrafficPercent": percent}
        isvc = {
            "spec": {"predictor": predictor},
            "status": {"components": {"predictor": part}, "conditions": [condition]},
        }
        service = {
            "metadata": {"generation": 1},
            "spec": {
                "template": {"metadata": annotations},
                "traffic": [{"latestRevision": True, "percent": 100 if percent is None else percent}],
            },
            "status": {
                "observedGeneration": 1,
                "latestCreatedRevisionName": part["latestCreatedRevision"],
                "latestReadyRevisionName": part["latestReadyRevision"],
                "traffic": [],
            },
        }
        created = {"metadata": annotations, "status": {"conditions": [condition]}}
        stable = {"metadata": {"annotations": {"coding-mcqa/model-version": self.stable}}}
        return ObservedInferenceService(
            observe_serving("m", isvc, service, created, stable), f"uid/{self.generation}", str(self.generation)
        )

    def patch(self, action: SetSpec | SetPercent, _: str) -> None:
        self.generation += 1
        self.spec = (action.version if isinstance(action, SetSpec) else self.spec[0], action.percent)


@dataclass
class Sent:
    """Records events; `seen` is what receivers act upon: types, codes, and which people are notified of how."""

    events: list[Event] = field(default_factory=list)

    def send(self, sent: Event) -> None:
        self.events.append(sent)

    def seen(self) -> list[Any]:
        messages = [build(dataclasses.replace(sent, extensions={})) for sent in self.events]
        keys: dict[str, int] = {}
        notified = [None if m is None else (m.level, keys.setdefault(m.key, len(keys))) for m in messages]
        customs = [parse_json(sent.data).get("customData") or parse_json(sent.data) for sent in self.events]
        codes = [(custom.get("reason_code"), custom.get("initiated_by")) for custom in customs]
        return [*zip((sent.type for sent in self.events), codes, notified, strict=True)]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without rows."""
    path = tmp_path_factory.mktemp("hostile") / "empty.db"
    made = engine(f"sqlite:///{path}")
    migrate(made)
    made.dispose()
    return path


@pytest.fixture
def database(empty: Path, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """Makes a new one at each call."""
    made: list[Engine] = []

    def create() -> Engine:
        path = tmp_path / f"{len(made)}.db"
        shutil.copy(empty, path)
        made.append(engine(f"sqlite:///{path}"))
        event.listen(made[-1], "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        return made[-1]

    yield create
    for each in made:
        each.dispose()


def roll_out(fate: str, text: str, database: Engine, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A whole rollout of version 2 over version 1, and all that came of it but its words."""
    registry, service, sink = FakeRegistry(text), FakeInferenceService(text), Sent()
    if fate == "never ready":
        service.never_ready = "2"
    verdict = fate if fate in ("pass", "fail") else "inconclusive"
    clock = [1000.0]

    def analyse(*_: Any) -> AnalysisResult:
        return AnalysisResult(cast("Any", verdict), (text, text), ())

    monkeypatch.setattr(rollout, "step_evidence", lambda *_: ())
    monkeypatch.setattr(rollout, "analyse", analyse)
    monkeypatch.setattr(rollout, "_SETTLE_PAUSE", 0.0)
    adapters = (cast("Any", registry), cast("Any", service), sink)
    deps = rollout.Dependencies(Settings(model="m"), database, *adapters, lambda: clock[0])
    rollout.reconcile(deps, None)
    registry.set_alias(CHALLENGER, "2")
    outcomes = []
    for step in range(8):
        if fate in ("hold", "promote", "abort", "abort before it starts") and step == (0 if " " in fate else 1):
            action = cast("Any", fate.partition(" ")[0])
            with transaction(database) as connection:
                overrides.write(connection, "m", Override(action, "2", by=text, at=clock[0]))
        decision = rollout.reconcile(deps, None)
        outcomes.append((decision.phase, decision.reason.code, decision.reason.initiated_by))
        clock[0] += 4 * 3600.0
    with transaction(database) as connection:
        log = list(reversed(store.decisions(connection, "m", 200)))
    names = ("phase", "action", "action_type", "reason_code", "initiated_by", "announces", "percent", "generation")
    tag = RolloutTag.decode(registry.tags.get("2", {}).get(ROLLOUT_TAG))
    for row in log:
        reason = read_reason(ReasonCode, row)
        assert reason is not None
        assert str(reason) == row["reason"]
    return {
        "outcomes": outcomes,
        "log": [tuple(row[name] for name in names) for row in log],
        "aliases": registry.aliases,
        "tag": None if tag is None else dataclasses.replace(tag, text=""),
        "serving": service.spec,
        "events": sink.seen(),
    }


ENDS = {
    "pass": (Outcome.PROMOTED, {"deployed", "upgraded"}),
    "fail": (Outcome.ROLLED_BACK, {"deployed", "rolledback", "incident"}),
    "inconclusive": (None, {"deployed", "incident"}),
    "never ready": (Outcome.ROLLED_BACK, {"deployed", "rolledback", "incident"}),
    "abort": (Outcome.ROLLED_BACK, {"deployed", "rolledback"}),
    "hold": (None, {"deployed"}),
    "promote": (Outcome.PROMOTED, {"deployed", "upgraded"}),
    "abort before it starts": (Outcome.ROLLED_BACK, {"rolledback"}),
}


@pytest.mark.parametrize("fate", FATES)
def test_no_text_changes_a_rollout(fate: str, database: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = roll_out(fate, HARMLESS, database(), monkeypatch)
    outcome_, types = ENDS[fate]
    assert (expected["tag"].outcome if expected["tag"] else None) == outcome_
    assert {kind for type, *_ in expected["events"] for kind in type.split(".") if kind in _KINDS} == types
    for text in HOSTILE:
        assert roll_out(fate, text, database(), monkeypatch) == expected, text


_KINDS = {"deployed", "upgraded", "rolledback", "incident"}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_tag_says_what_it_was_written_to_say(text: str) -> None:
    tag = RolloutTag(Outcome.ROLLED_BACK, "1", text, ReasonCode.START_TIMEOUT, InitiatedBy.CONTROLLER)
    assert RolloutTag.decode(tag.encode()) == tag
    old = RolloutTag.decode(f"rolled back from 1: {text}")
    assert old == RolloutTag(Outcome.ROLLED_BACK, "1", text)
    assert GateTag.decode(GateTag("inconclusive", text).encode()) == GateTag("inconclusive", text)


def drift_check(text: str, database: Engine) -> tuple[Any, ...]:
    """A drift that is detected, in a feature of this name, and what its events lead to."""
    name = f"feature {text}"[:60]
    reference = Reference({name: FeatureReference(1000, 0.0, 1.0, (-1.0, 0.0, 1.0))}, {"A": 500, "B": 500})
    summary = Summary(500, {name: Distance(500, 0.3, 0.5, 0.0)}, {"A": 250, "B": 250})
    state, sink = State("1", 0.0), Sent()
    results = []
    for hour in (1.0, 2.0, 3.0):
        result = evaluate(reference, summary, state, hour, DriftConfig())
        state = result.state
        results.append((result.verdict, result.alarm, result.reason.code, result.reason.initiated_by))
        with transaction(database) as connection:
            since = drifted_since(connection, "m", result)
            append(connection, "m", int(hour), result, since, "00-1-2-01", hour)
    with transaction(database) as connection:
        for row in reversed(checks(connection, "m")):
            reason = read_reason(DriftCode, row._mapping)
            assert str(reason) == row.reason
            for sent in drift_events(row):
                sink.send(sent)
    return results, sink.seen()


def test_no_text_changes_a_drift_check(database: Callable[[], Engine]) -> None:
    expected = drift_check(HARMLESS, database())
    assert [code for _, _, code, _ in expected[0]] == [
        DriftCode.SUSPECTED, DriftCode.DETECTED, DriftCode.STILL_DRIFTED
    ]  # fmt: skip
    for text in HOSTILE:
        assert drift_check(text, database()) == expected, text


@dataclass
class FakePipelines:
    """A pipeline server whose runs end in `state`; names, errors and descriptions say `text`."""

    text: str
    state: str
    started: list[str] = field(default_factory=list)

    def newest_version(self) -> dict[str, str]:
        return {"pipeline_id": "p"}

    def runs_named(self, _: str) -> list[dict[str, Any]]:
        return [{"run_id": run, "description": self.text} for run in self.started]

    def start_run(self, *_: Any) -> str:
        self.started.append(f"run {len(self.started)}")
        return self.started[-1]

    def run(self, _: str) -> dict[str, Any]:
        task = {"display_name": f"train {self.text}", "state": "FAILED", "error": {"message": self.text}}
        error = {"error": {"message": self.text}} if self.state == "FAILED" else {}
        tasks = {"run_details": {"task_details": [task]}} if self.state == "STEPS FAILED" else {}
        return {"state": "SUCCEEDED" if tasks else self.state, "description": self.text, **error, **tasks}

    def run_page(self, run: str) -> str:
        return f"http://pipelines/{run}"


def retrain(state: str, text: str, database: Engine) -> dict[str, Any]:
    """A drift and a request with these words, and the run that follows."""
    registry, pipelines, sink, clock = FakeRegistry(text), FakePipelines(text, state), Sent(), [1000.0]
    reconciler = retraining.RetrainReconciler(
        RetrainSettings("m", 0.0, 2), database, cast("Any", registry), cast("Any", pipelines), sink.send,
        lambda: clock[0],
    )  # fmt: skip
    window = {"window_start": 1.0, "window_end": 2.0, "data_digest": "d", "version": "1", "model": "m"}
    drift = read_drift({**window, "reason": text})
    request = read_request({"reason": f"by hand: {text}"}, "m", 5.0, "an event")
    with transaction(database) as connection:
        retrain_store.insert_waiting(connection, drift, InitiatedBy.DRIFT, "/drift", "1", "00-1-2-01", 1.0)
        retrain_store.insert_waiting(connection, request, InitiatedBy.OPERATOR, "/cli", "2", "00-1-2-01", 2.0)
    for _ in range(6):
        reconciler.reconcile()
        clock[0] += 100.0
    with transaction(database) as connection:
        rows = {row.initiated_by: row for row in retrain_store.newest(connection, "m")}
    return {
        "rows": {by: (row.state, row.reason_code, row.attempt, row.announced) for by, row in sorted(rows.items())},
        "runs": len(pipelines.started),
        "events": sink.seen(),
    }


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        ("SUCCEEDED", ("succeeded", "gate-not-passed", 1, 4)),
        ("FAILED", ("failed", "run-failed", 2, 4)),
        ("STEPS FAILED", ("failed", "steps-failed", 2, 4)),
        ("CANCELED", ("canceled", "run-canceled", 1, 4)),
        ("RUNNING", ("running", "run-running", 1, 2)),
    ],
)
def test_no_text_changes_a_retraining(state: str, ended: tuple[Any, ...], database: Callable[[], Engine]) -> None:
    expected = retrain(state, HARMLESS, database())
    assert expected["rows"] == {"drift": ended, "operator": ("void", "superseded-by-drift", 0, 0)}
    for text in HOSTILE:
        assert retrain(state, text, database()) == expected, text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_changes_how_a_run_or_a_promotion_ended(text: str) -> None:
    gate = GateTag("fail", text)
    assert outcome(gate, "", {}, "")[0] == "failure"
    assert outcome(gate, "", {"train": text}, "")[0] == "error"
    for tag in (RolloutTag(Outcome.ROLLED_BACK, "1", text), RolloutTag(Outcome.PASSED, "1")):
        verdict = judge("2", ObservedState(champion="1", challenger="2", tag=tag.encode()))
        rolled_back = tag.outcome is Outcome.ROLLED_BACK
        assert (verdict.state == "not promoted") == rolled_back


@pytest.mark.parametrize("tag", [None, Outcome.ROLLED_BACK])
def test_no_text_changes_an_exit_code(
    tag: Outcome | None, database: Callable[[], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer(cls=Group)
    app.add_typer(rollout_app, name="rollout")
    registry, sink = FakeRegistry(HARMLESS, {CHAMPION: "1", CHALLENGER: "2", PREVIOUS_CHAMPION: "0"}), Sent()
    monkeypatch.setattr("functions.rollout.operator_actions.ModelRegistry", lambda *_: registry)
    monkeypatch.setattr("functions.rollout.operator_actions.Sink", lambda _: sink)
    monkeypatch.setattr("mcqa.user.getpass", SimpleNamespace(getuser=lambda: registry.text))
    made = database()
    for name, value in (("MCQA_DATABASE_URL", str(made.url)), ("MCQA_REGISTERED_MODEL", "m"), ("COLUMNS", "160")):
        monkeypatch.setenv(name, value)

    def run(text: str) -> list[int]:
        registry.text = text
        if tag is not None:
            registry.set_tag("2", ROLLOUT_TAG, RolloutTag(tag, "1", text).encode())
        reason = Reason(ReasonCode.REVISION_STARTING, {"version": "2"}, (text,))
        row = {"at": 1.0, "phase": "starting", "action": "wait", "action_type": "wait", "evidence": None}
        row |= {"champion": "1", "challenger": "2", "percent": 0, **reason.to_columns()}
        with transaction(made) as connection:
            store.write_status(connection, "m", {**row, "version": "2"})
            store.append_decision(connection, "m", {**row, "generation": text, "trace": None})
        commands = (["status"], ["status", "--json"], ["hold"], ["resume"], ["resume"], ["abort"], ["promote"])
        return [CliRunner().invoke(app, ["rollout", *command]).exit_code for command in commands]

    expected = run(HARMLESS)
    assert expected == ([0, 0, 0, 0, 1, 0, 0] if tag is None else [0, 0, 1, 1, 1, 1, 1])
    for text in HOSTILE:
        assert run(text) == expected, text


def test_the_types_of_requests_are_codes() -> None:
    """What starts a retraining is an event's type, whatever its words; a period is one of three."""
    assert len({DRIFT_DETECTED, RETRAINING_REQUESTED, PING}) == 3
    keys = {read_request({"reason": text}, "m", 5.0, "e").key for text in HOSTILE}
    assert keys == {read_request({"reason": HARMLESS}, "m", 5.0, "e").key}
