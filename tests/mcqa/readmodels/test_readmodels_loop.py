"""The states of the loop's parts, what they wait for and what wants a person: pure functions of what was answered."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from functions.drift.settings import read_settings as drift_settings
from functions.retrain.decision import Retraining
from functions.retrain.settings import read_settings as retrain_settings
from functions.rollout.settings import read_settings as rollout_settings
from functions.rollout.state import Rollout, StepRecord
from mcqa import loop_sentences
from mcqa.readmodels import loop_attention, loop_parts, loop_waiting
from mcqa.readmodels.loop_sources import Answer, Answers, Cluster
from mcqa.readmodels.loop_stored import Settings, Stored
from ui.language import catalogue

NOW = 1_800_000_000.0
SETTINGS = Settings(drift_settings({}), retrain_settings({}), rollout_settings({}))
NOTHING = Stored(
    champion="3", look=None, rollout=None, override=None, last_change=None, since=None, requests=0, check=None,
    window=0, alarm=None, alarm_stands=False, answer_to_alarm=None, retrainings=(), active=None, last_run=None,
    labels=0, dead_letters=0, flows=(),
)  # fmt: skip
SILENT = Answers()
READY = {"conditions": [{"type": "Ready", "status": "True"}], "latestReadyRevisionName": "drift-1"}


def look(phase: str, code: str, **others: Any) -> dict[str, Any]:
    return {
        "phase": phase, "reason_code": code, "initiated_by": "analysis", "champion": "3", "challenger": "4",
        "percent": 10, "evidence": None, **others,
    }  # fmt: skip


def check(streaks: dict[str, int], code: str = "no-change") -> Any:
    return SimpleNamespace(document={"state": {"streaks": streaks}}, reason_code=code)


def run(state: str, version: str | None = None) -> Any:
    return SimpleNamespace(state=state, version=version, error="why", attempt=2, run_id="r", finished_at=NOW)


def step(since: float, requests: int, undecided: tuple[str, ...] = ()) -> Stored:
    measures = [{"name": name, "verdict": "inconclusive"} for name in undecided]
    return replace(
        NOTHING,
        look=look("step", "step-analysing", evidence={"measures": measures}),
        rollout=Rollout("4", "3", (StepRecord(0, 0.0), StepRecord(10, since))),
        requests=requests,
    )


@pytest.mark.parametrize(
    ("stored", "codes"),
    [
        (replace(NOTHING, champion=None), {"drift-needs-champion": {}}),
        (replace(NOTHING, window=68), {"drift-needs-answers": {"has": 68, "needed": 200}}),
        (replace(NOTHING, window=200), {"drift-window-grows": {"has": 200, "enough": 1000}}),
        (replace(NOTHING, window=1000), {"drift-needs-check": {"has": 1000}}),
        (
            replace(NOTHING, window=5, check=check({"entropy": 1})),
            {"drift-needs-answers": {"has": 5, "needed": 200}, "drift-suspects": {"windows": 1, "consecutive": 2}},
        ),
        (
            replace(NOTHING, window=5, check=check({"entropy": 2}), alarm_stands=True),
            {"drift-needs-answers": {"has": 5, "needed": 200}, "drift-alarm-stands": {}},
        ),
        (replace(NOTHING, check=check({}, "reference-missing")), {"drift-needs-reference": {"version": "3"}}),
    ],
)
def test_what_drift_waits_for(stored: Stored, codes: dict[str, dict[str, Any]]) -> None:
    assert {fact["code"]: fact["params"] for fact in loop_waiting.drift(stored, SETTINGS)} == codes


def ended(ago: float) -> Retraining:
    return Retraining("k" * 64, "succeeded", "3", NOW - ago - 60, NOW - ago, True)


WAITS = Retraining("w" * 64, "waiting", "3", NOW)


@pytest.mark.parametrize(
    ("stored", "codes"),
    [
        (NOTHING, ["retrain-needs-alarm", "retrain-needs-labels"]),
        (replace(NOTHING, labels=200), ["retrain-needs-alarm"]),
        (replace(NOTHING, labels=None), ["retrain-needs-alarm"]),
        (replace(NOTHING, retrainings=(WAITS,)), ["retrain-starts"]),
        (replace(NOTHING, retrainings=(WAITS, ended(60))), ["retrain-cools-down"]),
        (replace(NOTHING, active=run("running")), ["retrain-run-active"]),
    ],
)
def test_what_retrain_waits_for(stored: Stored, codes: list[str]) -> None:
    assert [fact["code"] for fact in loop_waiting.retrain(stored, SETTINGS, "3", NOW)] == codes


def test_without_a_champion_nothing_that_waits_is_retrained() -> None:
    (fact,) = loop_waiting.retrain(replace(NOTHING, retrainings=(WAITS,)), SETTINGS, None, NOW)
    assert fact["code"] == "retrain-needs-champion"


@pytest.mark.parametrize(
    ("stored", "code", "params"),
    [
        (NOTHING, "rollout-needs-look", {}),
        (replace(NOTHING, look=look("idle", "champion-serves")), "rollout-needs-challenger", {}),
        (replace(NOTHING, look=look("blocked", "no-champion")), "rollout-needs-champion", {}),
        (replace(NOTHING, look=look("starting", "revision-starting")), "rollout-needs-revision", {"version": "4"}),
        (replace(NOTHING, look=look("held", "held")), "rollout-held", {"percent": 10, "version": "4"}),
        (step(NOW - 60, 40), "rollout-needs-requests-and-time", {"requests": 60, "seconds": 240.0}),
        (step(NOW - 900, 40), "rollout-needs-requests", {"requests": 60}),
        (step(NOW - 60, 100), "rollout-needs-time", {"seconds": 240.0}),
        (step(NOW - 900, 100, ("slow",)), "rollout-needs-evidence", {"measures": ["slow"], "seconds": 85_500.0}),
    ],
)
def test_what_the_rollout_waits_for(stored: Stored, code: str, params: dict[str, Any]) -> None:
    (fact,) = loop_waiting.rollout(stored, SETTINGS, NOW)
    assert fact["code"] == code
    assert params.items() <= fact["params"].items()


def wants(stored: Stored = NOTHING, answers: Answers = SILENT) -> list[tuple[str, str]]:
    parts = loop_parts.read(answers, Answer(stored))
    return [(want["severity"], want["code"]) for want in loop_attention.read(answers, parts, stored, SETTINGS, NOW)]


ALARM: Any = SimpleNamespace(sequence=5, version="3", checked_at=NOW - 3600)


def alarm(run: Any) -> Stored:
    return replace(NOTHING, alarm=ALARM, alarm_stands=True, answer_to_alarm=run)


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (NOTHING, []),
        (replace(NOTHING, dead_letters=2), [("decision", "dead-letters")]),
        (replace(NOTHING, look=look("held", "step-inconclusive")), [("decision", "rollout-inconclusive")]),
        (
            replace(NOTHING, look=look("held", "held", initiated_by="operator")),
            [("notice", "rollout-held-by-operator")],
        ),
        (replace(NOTHING, look=look("blocked", "no-champion")), [("fault", "rollout-no-champion")]),
        (replace(NOTHING, last_run=run("failed")), [("decision", "run-failed")]),
        (replace(NOTHING, last_run=run("failed"), active=run("running")), []),
        (alarm(None), [("decision", "alarm-without-run")]),
        (alarm(run("running")), []),
        (alarm(run("succeeded", "4")), []),
        (alarm(run("succeeded")), [("decision", "alarm-gate-refused")]),
        (alarm(run("void")), [("decision", "alarm-run-void")]),
    ],
)
def test_what_wants_a_person(stored: Stored, found: list[tuple[str, str]]) -> None:
    assert wants(stored) == found


def test_faults_come_first_and_a_loop_that_is_down_is_one() -> None:
    down = Answers(
        supervisor=Answer(error="refused"), cluster=Answer(error="refused"), broker=Answer(error="refused"),
        registry=Answer(error="refused"), pipelines=Answer(error="refused"),
    )  # fmt: skip
    assert wants(replace(NOTHING, dead_letters=1), down) == [("fault", "loop-down"), ("decision", "dead-letters")]


def test_a_full_disk_is_reported_once_by_each_part() -> None:
    fault = {"part": "broker", "path": "/b.db", "since": NOW, "message": "no space left on device"}
    answers = Answers(supervisor=Answer({"ready": True, "storage": [fault]}), broker=Answer({"storage": [fault]}))
    assert wants(answers=answers) == [("fault", "disk-full")]


def state_of(name: str, answers: Answers) -> tuple[str, int | None]:
    part = next(part for part in loop_parts.read(answers, Answer(NOTHING)) if part["name"] == name)
    return part["state"], part["replicas"]


def cluster(status: dict[str, Any], actual: int = 0, **item: Any) -> Answers:
    function = {"metadata": {"name": "drift"}, "status": status, **item}
    revision = {"metadata": {"name": "drift-1"}, "status": {"actualReplicas": actual}}
    return Answers(cluster=Answer(Cluster(None, [function], [revision], None)))


def test_scaled_to_zero_is_asleep_and_not_a_fault() -> None:
    assert state_of("drift", cluster(READY)) == ("asleep", 0)
    assert state_of("drift", cluster(READY, 1)) == ("ready", 1)


@pytest.mark.parametrize(("condition", "state"), [("False", "down"), ("Unknown", "starting")])
def test_a_condition_decides_between_a_fault_and_a_start(condition: str, state: str) -> None:
    status = {"conditions": [{"type": "Ready", "status": condition, "message": "why"}]}
    assert state_of("drift", cluster(status))[0] == state


def test_a_deployment_counts_its_pods() -> None:
    assert state_of("drift", cluster({"availableReplicas": 2}, kind="Deployment", spec={"replicas": 2})) == ("ready", 2)
    assert state_of("drift", cluster({}, kind="Deployment", spec={"replicas": 1})) == ("down", 0)


def test_the_supervisor_knows_of_a_replica_that_crashes() -> None:
    pool = {"revision": "drift-1", "replicas": 0, "wanted": 1, "message": "it ended with code 1"}
    answers = replace(cluster(READY, 1), supervisor=Answer({"ready": True, "revisions": [pool]}))
    assert state_of("drift", answers) == ("starting", 0)


def test_what_cannot_be_asked_is_unseen_and_what_does_not_answer_unknown() -> None:
    assert state_of("gateway", cluster(READY)) == ("unseen", None)
    assert state_of("registry", Answers(registry=Answer(error="refused"))) == ("down", None)
    assert state_of("drift", Answers(cluster=Answer(error="refused"))) == ("unknown", None)


def test_the_terminal_says_what_the_page_says() -> None:
    texts = catalogue()
    assert {code: texts[f"loop.waiting.{code}"]["en"] for code in loop_sentences.WAITING} == loop_sentences.WAITING
    assert {code: texts[f"loop.want.{code}"]["en"] for code in loop_sentences.WANTS} == loop_sentences.WANTS
    assert len([key for key in texts if key.startswith("loop.waiting.")]) == len(loop_sentences.WAITING)


def test_sentences_of_a_terminal() -> None:
    (fact,) = loop_waiting.rollout(step(NOW - 60, 40), SETTINGS, NOW)
    expected = "canary of version 4 at 10 %: 60 more questions to it, and at least 4 min 0 s"
    assert loop_sentences.waiting(fact) == expected
    answers = Answers()
    held = replace(NOTHING, look=look("held", "step-inconclusive"))
    (want,) = loop_attention.read(answers, loop_parts.read(answers, Answer(held)), held, SETTINGS, NOW)
    assert loop_sentences.want(want).endswith("promote it or abort it. See `mcqa rollout status`.")
