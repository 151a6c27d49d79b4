"""A database with three rollouts for tests of what shows them: one promoted, one rolled back, one under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine

from functions.database import transaction
from functions.reasons import InitiatedBy, Reason
from functions.rollout import measurements, overrides, store
from functions.rollout.actions import Action, DeleteAlias, Hold, Record, SetAlias, SetPercent, SetSpec, SetTag, Wait
from functions.rollout.analysis import analyse
from functions.rollout.evidence import Arm, StepEvidence
from functions.rollout.reasons import ReasonCode as Code
from functions.rollout.state import Override, Rollout, StepRecord
from functions.rollout.version_tag import Outcome, RolloutTag

ANALYSIS, OPERATOR = InitiatedBy.ANALYSIS, InitiatedBy.OPERATOR
TRACE = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


@dataclass
class Story:
    """Writes as the rollout function would; `now` in Unix seconds."""

    connection: Connection
    now: float
    model: str = "coding-mcqa"
    champion: str = "1"
    challenger: str | None = None
    percent: int | None = None
    worse: float = 0.0
    steps: list[StepRecord] = field(default_factory=list)
    evidence: dict[str, Any] | None = None
    before: list[StepEvidence] = field(default_factory=list)
    last: StepEvidence = field(default_factory=lambda: StepEvidence(0, 0.0, Arm(), Arm()))

    def decide(self, phase: str, action: Action, reason: Reason) -> None:
        row = self._row(phase, action, reason)
        store.append_decision(self.connection, self.model, {**row, "at": self.now, "generation": "u/1", "trace": TRACE})
        self.status(phase, action, reason)
        self.now += 1.0

    def status(self, phase: str, action: Action, reason: Reason) -> None:
        serving = self.challenger if self.percent is not None or phase == "promoting" else self.champion
        row = self._row(phase, action, reason) | {"at": self.now, "version": serving}
        store.write_status(self.connection, self.model, row)

    def start(self, challenger: str) -> None:
        self.challenger, self.percent, self.steps, self.evidence, self.before = challenger, None, [], None, []
        params = {"version": challenger, "champion": self.champion}
        self.decide("starting", SetSpec(challenger, 0), Reason(Code.CANARY_STARTING, params))
        self._step(0)
        ready = Reason(Code.REVISION_READY, {"version": challenger, "percent": 10})
        self.decide("stepped-up", SetPercent(10), ready)

    def step(self, percent: int, minutes: int, per_minute: int = 60, labelled: float = 0.4) -> None:
        """A step of so many minutes, measured every minute."""
        self._step(percent)
        begun = self.steps[-1]
        for minute in range(minutes + 1):
            self.measure(begun, minute * per_minute, labelled)
            analysing = Reason(Code.STEP_ANALYSING, {"minutes": float(minute), "percent": percent})
            if minute == 0:
                self.decide("step", Wait(), analysing)
            self.status("step", Wait(), analysing)
            self.now = begun.since + (minute + 1) * 60
        self.now -= 59
        self.before.append(self.last)

    def measure(self, step: StepRecord, n: int, labelled: float) -> None:
        arms = (
            _arm(n * (100 - step.percent) // 100, 0.8, labelled),
            _arm(n * step.percent // 100, 0.8 - self.worse, labelled),
        )
        self.last = StepEvidence(step.percent, step.since, *arms)
        found = analyse([*self.before, self.last], self.now)
        names = {"champion": self.champion, "challenger": str(self.challenger)}
        self.evidence = {**store.plain_json(found.to_dict()), **names}
        measured = {**names, "verdict": found.verdict, "measures": self.evidence["measures"]}
        measurements.keep(self.connection, self.model, {**measured, "at": self.now, "percent": step.percent}, step)

    def step_up(self, share: int) -> None:
        self.decide(
            "stepped-up", SetPercent(share), Reason(Code.STEP_PASSED, {"percent": self.percent}, initiated_by=ANALYSIS)
        )

    def promote(self) -> None:
        challenger = str(self.challenger)
        passed = Reason(Code.CANARY_PASSED, {"version": challenger}, initiated_by=ANALYSIS)
        self.decide("promoting", SetPercent(None), passed)
        self.percent = None
        self.decide(
            "promoting", SetAlias("champion", challenger), Reason(Code.ROLLOUT_COMPLETED, {"version": challenger})
        )
        self.champion = challenger
        self.decide("finished", DeleteAlias("challenger"), Reason(Code.PROMOTION_FINISHED, {"version": challenger}))
        self._alone(Reason(Code.NO_CHALLENGER))

    def abort(self, by: str) -> None:
        challenger, reason = str(self.challenger), Reason(Code.ABORTED, {"by": by}, (by,), initiated_by=OPERATOR)
        self.decide("rolling-back", SetPercent(0), reason)
        self.percent = 0
        tag = RolloutTag(Outcome.ROLLED_BACK, self.champion, str(reason), Code.ABORTED, OPERATOR)
        self.decide("rolling-back", SetTag(challenger, tag), reason)
        params = {"version": challenger, "champion": self.champion, "tag": "rollout"}
        cause = Reason(Code.CHALLENGER_ROLLED_BACK, params, (str(tag),))
        self.decide(
            "rolling-back",
            SetSpec(self.champion, 0),
            Reason(Code.RESTORING_CHAMPION, {"version": self.champion}, cause=cause),
        )
        self.percent = None
        self._alone(cause)

    def hold(self, by: str) -> None:
        override = Override("hold", str(self.challenger), by, self.now)
        overrides.write(self.connection, self.model, override)
        self.decide(
            "held", Hold(), Reason(Code.HELD, {"percent": self.percent, "by": by}, (by,), initiated_by=OPERATOR)
        )

    def _alone(self, cause: Reason) -> None:
        self.evidence, self.steps = None, []
        self.decide(
            "finished", Record(None), Reason(Code.CHAMPION_SERVES_ALONE, {"version": self.champion}, cause=cause)
        )
        store.write_record(self.connection, self.model, None)
        self.decide("idle", Wait(), Reason(Code.CHAMPION_SERVES, {"version": self.champion}, cause=cause))

    def _step(self, percent: int) -> None:
        self.percent = percent
        self.steps.append(StepRecord(percent, self.now))
        rollout = Rollout(str(self.challenger), self.champion, tuple(self.steps))
        reason = Reason(Code.STEP_RECORDED, {"version": self.challenger, "percent": percent})
        self.decide("starting", Record(rollout), reason)
        store.write_record(self.connection, self.model, rollout)

    def _row(self, phase: str, action: Action, reason: Reason) -> dict[str, Any]:
        return {
            "phase": phase,
            "action": str(action),
            "action_type": str(action.type),
            **reason.to_columns(),
            "champion": self.champion,
            "challenger": self.challenger,
            "percent": self.percent,
            "evidence": self.evidence,
        }


def _arm(n: int, accuracy: float, labelled: float) -> Arm:
    labels = round(n * labelled)
    correct = round(labels * accuracy)
    squares, fourths = correct * 0.04 + (labels - correct) * 0.64, correct * 0.0016 + (labels - correct) * 0.4096
    slow = n // 50
    return Arm(n, 0, {17: n - slow, 30: slow}, {"A": n // 2, "B": n - n // 2}, labels, correct, squares, fourths)


def three_rollouts(engine: Engine, now: float, model: str = "coding-mcqa") -> Mapping[str, str]:
    """The last one is at 25% since half an hour before `now`."""
    with transaction(engine) as connection:
        story = Story(connection, now - 6 * 3600, model)
        story.start("2")
        for percent, after in ((10, 25), (25, 50), (50, 100)):
            story.step(percent, 20)
            if after < 100:
                story.step_up(after)
        story.promote()
        story.now = now - 3 * 3600
        story.worse = 0.03
        story.start("3")
        story.step(10, 30)
        story.abort("ann <b>Nguyễn</b>")
        story.now, story.worse = now - 3660 - 80, 0.01
        story.start("4")
        story.step(10, 30)
        story.step_up(25)
        story.step(25, 30, per_minute=20)
    return {"model": model}
