"""What a decision is announced as, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from functions.events import Event, parse_json
from functions.notify.message import build
from functions.reasons import InitiatedBy, Reason
from functions.rollout.actions import Decision, Hold, Record, SetPercent, SetSpec, SetTag, Wait
from functions.rollout.announce import announce, kind_of
from functions.rollout.reasons import ReasonCode
from functions.rollout.settings import Settings
from functions.rollout.state import Rollout, StepRecord
from functions.rollout.version_tag import Outcome, RolloutTag


def why(code: ReasonCode, by: InitiatedBy = InitiatedBy.CONTROLLER, **params: Any) -> Reason:
    return Reason(code, {"version": "7", "champion": "6", "percent": 10, **params}, ("slow",), initiated_by=by)


def tag(outcome: Outcome) -> SetTag:
    return SetTag("7", RolloutTag(outcome, "6", "slow"))


CODE, ANALYSIS, OPERATOR = ReasonCode, InitiatedBy.ANALYSIS, InitiatedBy.OPERATOR
RECORD = Rollout("7", "6", (StepRecord(0, 1.0),))
KINDS: list[tuple[Decision, str | None, list[str]]] = [
    (Decision(SetSpec("6", None), "deploying", why(CODE.FIRST_DEPLOYMENT)), "deployed", ["service.deployed"]),
    (Decision(Record(RECORD), "starting", why(CODE.STEP_RECORDED)), "deployed", ["service.deployed"]),
    (Decision(Record(Rollout("7", "6", (StepRecord(10, 1.0),))), "starting", why(CODE.STEP_RECORDED)), None, []),
    (Decision(Record(None), "finished", why(CODE.CHAMPION_SERVES_ALONE)), None, []),
    (Decision(SetSpec("7", 0), "starting", why(CODE.CANARY_STARTING)), None, []),
    (Decision(SetPercent(10), "stepped-up", why(CODE.STEP_PASSED, ANALYSIS)), None, []),
    (Decision(tag(Outcome.PASSED), "promoting", why(CODE.STEP_PASSED, ANALYSIS)), None, []),
    (
        Decision(tag(Outcome.PROMOTED), "promoting", why(CODE.CHAMPION_PROMOTED, previous="6")),
        "upgraded",
        ["service.upgraded"],
    ),
    (
        Decision(tag(Outcome.ROLLED_BACK), "rolling-back", why(CODE.ANALYSIS_FAILED, ANALYSIS)),
        "rolled-back",
        ["service.rolledback", "incident.detected"],
    ),
    (
        Decision(tag(Outcome.ROLLED_BACK), "rolling-back", why(CODE.ABORTED, OPERATOR)),
        "aborted",
        ["service.rolledback"],
    ),
    (
        Decision(Hold(), "held", why(CODE.STEP_INCONCLUSIVE, ANALYSIS, hours=24.0)),
        "held",
        ["incident.detected"],
    ),
    (Decision(Hold(), "held", why(CODE.HELD, OPERATOR)), None, []),
    (Decision(Hold(), "blocked", why(CODE.NO_INFERENCE_SERVICE)), "held", ["incident.detected"]),
    (Decision(Wait(), "deploying", why(CODE.AWAITING_CONTROLLER)), "stuck", ["incident.detected"]),
    (Decision(Wait(), "step", why(CODE.STEP_ANALYSING, minutes=3.0)), None, []),
]


@pytest.mark.parametrize(("decision", "kind", "types"), KINDS)
def test_what_is_announced(decision: Decision, kind: str | None, types: list[str]) -> None:
    assert kind_of(decision) == kind
    row: dict[str, Any] = {"number": 3, "model": "m", "at": 5.0, "phase": decision.phase, "percent": 10}
    row |= {"champion": "6", "challenger": "7", **decision.reason.to_columns()}
    row |= {"announces": kind, "evidence": {"n": 1}, "trace": "00-1-2-01"}
    made = announce(row, Settings(model="m")) if kind else []
    assert [event.type.split(".", 2)[2].removesuffix(".0.3.0") for event in made] == types
    assert made == (announce(row, Settings(model="m")) if kind else []), "again the same ids"
    assert len({event.id for event in made}) == len(made)
    for event in made:
        assert event.extensions == {"traceparent": "00-1-2-01"}
        custom = parse_json(event.data)["customData"]
        assert custom["reason"] == str(decision.reason)
        assert (custom["reason_code"], custom["initiated_by"]) == (decision.reason.code, decision.reason.initiated_by)
        message = build(Event(event.id, event.source, event.type, data=event.data))
        if message is None:
            version = "7" if isinstance(decision.action, Record) else "6"
            assert "deployed" in event.type
            assert parse_json(event.data)["subject"]["content"]["artifactId"] == f"pkg:mlflow/m@{version}"
        else:
            assert str(decision.reason) in message.why
