from __future__ import annotations

from typing import Any

import pytest

from functions.events import BadEventError
from functions.reasons import Reason
from functions.retrain.decision import (
    ACTIVE,
    ObservedRun,
    Retraining,
    State,
    decide,
    is_request,
    may_post,
    next_state,
    observe,
    read_drift,
    read_request,
    too_little_feedback,
)
from functions.retrain.reasons import ReasonCode
from functions.sink import digest

DAY = 86_400.0
DRIFT: dict[str, Any] = {
    "model": "coding-mcqa",
    "version": "7",
    "window_start": 100.0,
    "window_end": 200.0,
    "drift_since": 50.0,
    "data_digest": digest("x"),
    "reason": "confidence by\n0.5 sd",
}


def known(
    key: str, state: State, created: float = 1.0, champion: str = "7", finished: float | None = None
) -> Retraining:
    return Retraining(key, state, champion, created, finished, ran=finished is not None)


@pytest.mark.parametrize(
    ("rows", "champion", "kind", "key"),
    [
        ([], "7", "nothing", None),
        ([known("a", "succeeded", finished=1.0)], "7", "nothing", None),
        ([known("a", "waiting")], "7", "start", "a"),
        # nobody can say that the champion changed: it has none for now
        ([known("a", "waiting")], None, "wait", None),
        ([known("a", "waiting")], "8", "void", "a"),
        ([known("a", "waiting", champion="6"), known("b", "waiting", 2.0)], "7", "void", "a"),
        # of two drifts of one version the newer one has the data
        ([known("a", "waiting", 1.0), known("b", "waiting", 2.0)], "7", "void", "a"),
        # one run at a time
        *(([known("a", state), known("b", "waiting", 2.0)], "7", "wait", None) for state in ACTIVE),
        # the cool-down counts from the end of the last run, however it ended
        ([known("a", "failed", finished=DAY - 99), known("b", "waiting", 2.0)], "7", "wait", None),
        ([known("a", "succeeded", finished=DAY - 100), known("b", "waiting", 2.0)], "7", "start", "b"),
        ([known("z", "canceled", finished=DAY), known("b", "waiting")], "7", "wait", None),
        # an end that our clock has yet to reach: it was set back since, or runs a little behind another's
        ([known("a", "succeeded", finished=DAY + 3600), known("b", "waiting", 2.0)], "7", "start", "b"),
        ([known("a", "succeeded", finished=DAY + 30), known("b", "waiting", 2.0)], "7", "wait", None),
        # what never ran cools nothing down
        ([Retraining("a", "failed", "7", 1.0, DAY, ran=False), known("b", "waiting", 2.0)], "7", "start", "b"),
        ([known("a", "void"), known("b", "waiting", 2.0)], "7", "start", "b"),
        # a request is for whatever the champion is
        ([known("a", "waiting", champion="")], "7", "start", "a"),
        ([known("a", "waiting", champion="")], "8", "start", "a"),
        ([known("a", "waiting", champion="")], None, "wait", None),
        ([known("a", "running"), known("b", "waiting", 2.0, champion="")], "7", "wait", None),
        ([known("a", "succeeded", finished=DAY - 99), known("b", "waiting", 2.0, champion="")], "7", "wait", None),
        # of two the newer one; and a drift says more, whenever it came
        ([known("a", "waiting", 1.0, ""), known("b", "waiting", 2.0, "")], "7", "void", "a"),
        ([known("a", "waiting", 1.0, ""), known("b", "waiting", 2.0)], "7", "void", "a"),
        ([known("a", "waiting", 1.0), known("b", "waiting", 2.0, "")], "7", "void", "b"),
        ([known("a", "waiting", 1.0, "6"), known("b", "waiting", 2.0, "")], "7", "void", "a"),
    ],
)  # fmt: skip
def test_what_may_start(rows: list[Retraining], champion: str | None, kind: str, key: str | None) -> None:
    action = decide(rows, champion, now=DAY, cooldown=100.0)
    assert (action.kind, action.key) == (kind, key)
    assert str(action.reason)


def task(name: str, state: str, message: str = "") -> dict[str, Any]:
    return {"display_name": name, "state": state, **({"error": {"message": message}} if message else {})}


def ended(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"state": "SUCCEEDED", "run_details": {"task_details": list(tasks)}}


QUEUED = ObservedRun("queued", Reason(ReasonCode.RUN_QUEUED))
RUNNING = ObservedRun("running", Reason(ReasonCode.RUN_RUNNING))
SUCCEEDED = ObservedRun("succeeded", Reason(ReasonCode.RUN_SUCCEEDED))


def failed(*details: str) -> ObservedRun:
    return ObservedRun("failed", Reason(ReasonCode.RUN_FAILED, details=details))


@pytest.mark.parametrize(
    ("run", "seen"),
    [
        ({}, QUEUED),
        ({"state": "PENDING"}, QUEUED),
        ({"state": "RUNTIME_STATE_UNSPECIFIED"}, QUEUED),
        ({"state": "RUNNING"}, RUNNING),
        ({"state": "PAUSED"}, RUNNING),
        ({"state": "CANCELING"}, RUNNING),
        ({"state": "SUCCEEDED"}, SUCCEEDED),
        ({"state": "CANCELED"}, ObservedRun("canceled", Reason(ReasonCode.RUN_CANCELED))),
        (None, ObservedRun("canceled", Reason(ReasonCode.RUN_GONE))),
        ({"state": "FAILED"}, failed("the run failed and does not say why")),
        ({"state": "FAILED", "error": {"message": "a\nb"}}, failed("a b")),
        # an exit handler that ends well hides what broke
        (
            ended(task("train", "FAILED", "oom"), task("exit", "SUCCEEDED")),
            ObservedRun("failed", Reason(ReasonCode.STEPS_FAILED, details=("step train failed: oom",))),
        ),
        # a step that worked at the second try did not break
        (
            ended(task("train(0)", "FAILED"), task("train(1)", "SUCCEEDED")),
            SUCCEEDED,
        ),
        (ended(task("register", "SKIPPED")), SUCCEEDED),
        # Kubeflow Pipelines 2.17: what is around a step fails with it, nothing says why, what never ran has no state
        (
            {
                **ended(
                    task("coding-mcqa-retraining-g6d49(0)", "FAILED"),
                    task("root", "FAILED"), task("root-driver", "SUCCEEDED"),
                    task("exit-handler-1(0)", "FAILED"), task("exit-handler-1.onExit", "FAILED"),
                    task("collect-data-driver(0)", "SUCCEEDED"), task("executor(0)", "FAILED"),
                    task("collect-data(0)", "FAILED"), task("collect-data", "FAILED"),
                    {"display_name": "fine-tune"}, task("report(0)", "SUCCEEDED"), task("executor", "SUCCEEDED"),
                ),
                "state": "FAILED",
            },
            failed("step collect-data failed"),
        ),
        ({**ended(task("root-driver", "FAILED")), "state": "FAILED"}, failed("step root-driver failed")),
    ],
)  # fmt: skip
def test_a_run_as_we_see_it(run: dict[str, Any] | None, seen: ObservedRun) -> None:
    observed = observe(run)
    assert observed == seen
    assert bool(observed.error) == (observed.state in ("failed", "canceled"))


@pytest.mark.parametrize(
    ("state", "attempt", "after"),
    [("failed", 1, "starting"), ("failed", 2, "failed"), ("canceled", 1, "canceled"), ("succeeded", 1, "succeeded")],
)
def test_only_what_broke_is_tried_again(state: Any, attempt: int, after: State) -> None:
    assert next_state(ObservedRun(state, Reason(ReasonCode.UNKNOWN)), attempt, attempts=2) == after


def test_a_request_that_may_still_arrive_is_waited_for() -> None:
    assert may_post(None, 100.0, 60.0)
    assert not may_post(99.0, 100.0, 60.0)
    assert may_post(40.0, 100.0, 60.0)


def test_the_key_is_of_model_version_window_and_data() -> None:
    drift = read_drift(DRIFT)
    assert (drift.since, drift.window, drift.reason) == (50.0, (100.0, 200.0), "confidence by 0.5 sd")
    assert len(drift.key) == 64
    assert read_drift({**DRIFT, "reason": "other", "n": 5}).key == drift.key
    changes: list[dict[str, Any]] = [
        {"model": "m"}, {"version": "8"}, {"window_start": 101.0}, {"window_end": 201.0}, {"data_digest": digest("y")},
    ]  # fmt: skip
    assert len({read_drift({**DRIFT, **change}).key for change in changes} | {drift.key}) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": None}, "version: must be"),
        ({"version": ""}, "version: must be"),
        ({"data_digest": 5}, "data_digest: must be"),
        ({"window_start": None}, "window_start: must be Unix seconds"),
        ({"window_end": "now"}, "window_end: must be Unix seconds"),
        ({"window_end": True}, "window_end: must be Unix seconds"),
        ({"window_end": float("nan")}, "window_end: must be Unix seconds"),
        ({"window_end": 99.0}, "window_start <= window_end"),
        ({"drift_since": 150.0}, "drift_since <="),
    ],
)
def test_what_is_no_drift(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadEventError, match=message):
        read_drift({**DRIFT, **change})
    with pytest.raises(BadEventError, match="JSON object"):
        read_drift([])


SUNDAY = 1_795_348_800.0  # 2026-11-22, the last day of week 47


@pytest.mark.parametrize(
    ("reason", "at", "event", "same"),
    [
        # a schedule asks once a period, however often its tick is sent
        ("weekly", SUNDAY + 3600, "other", True),
        ("weekly", SUNDAY - 6 * DAY, "other", True),
        ("weekly", SUNDAY + DAY, "event", False),
        ("daily", SUNDAY, "event", False),
        # whatever else is one request an event
        ("by hand", SUNDAY, "event", False),
    ],
)
def test_which_requests_are_the_same(reason: str, at: float, event: str, same: bool) -> None:
    weekly = read_request({"reason": "weekly"}, "m", SUNDAY, "event")
    assert (weekly.reason, weekly.version, weekly.since, len(weekly.key)) == ("weekly", "", 0.0, 64)
    assert (read_request({"reason": reason}, "m", at, event).key == weekly.key) == same


def test_requests_by_hand_are_told_apart_by_their_event() -> None:
    keys = {read_request({"reason": "r"}, model, SUNDAY, event).key for model in "mn" for event in ("1", "2")}
    assert len(keys) == 4


@pytest.mark.parametrize("data", [None, [], {}, {"reason": ""}, {"reason": " \n"}, {"reason": 5}, {"body": "tick"}])
def test_a_tick_without_a_reason_is_no_request(data: Any) -> None:
    assert not is_request(data)
    with pytest.raises(BadEventError, match="with a reason"):
        read_request(data, "m", SUNDAY, "event")


def test_a_request_for_another_model_is_refused() -> None:
    assert read_request({"reason": "r", "model": "m"}, "m", SUNDAY, "e").model == "m"
    with pytest.raises(BadEventError, match="retrains m, found 'n'"):
        read_request({"reason": "r", "model": "n"}, "m", SUNDAY, "e")


def test_without_feedback_there_is_nothing_to_learn() -> None:
    assert too_little_feedback(200, 200, "7") is None
    assert (
        str(too_little_feedback(199, 200, "7"))
        == "199 answers got feedback since version 7 was made, at least 200 needed"
    )
