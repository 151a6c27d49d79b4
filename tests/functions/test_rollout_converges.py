"""A simulated registry, InferenceService controller and database: whatever happens between two writes, it converges."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.names import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
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
from functions.rollout.decision import Config, decide
from functions.rollout.reasons import ReasonCode
from functions.rollout.state import (
    DesiredState,
    ModelVersion,
    Override,
    Rollout,
    RolloutState,
    ServingState,
    StepAnalysis,
)
from functions.rollout.version_tag import ROLLOUT_TAG, Outcome, RolloutTag

CONFIG = Config(max_step=3600.0, max_start=600.0)
MINUTE = 60.0

FATES = ("pass", "fail@10", "fail@25", "fail@50", "inconclusive", "never ready")


@dataclass
class Revision:
    version: str
    ready: bool = False


@dataclass
class Everything:
    """KServe's and Knative's behaviour as facts: `latest` is the last *ready* revision, `prev` the last rolled out."""

    fates: dict[str, str]
    aliases: dict[str, str] = field(default_factory=lambda: {CHAMPION: "1"})
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    spec: tuple[str, int | None] = ("1", None)
    observed: tuple[str, int | None] | None = None
    revisions: list[Revision] = field(default_factory=list)
    rolled_out: Revision | None = None
    rollout: Rollout | None = None
    override: Override | None = None
    now: float = 1000.0
    forced: set[str] = field(default_factory=lambda: {"1"})

    def controller(self) -> None:
        """One pass: a new revision for a new template, readiness one pass later, then the roll-out mark."""
        if self.observed != self.spec:
            self.observed = self.spec
            if not self.revisions or self.revisions[-1].version != self.spec[0]:
                self.revisions.append(Revision(self.spec[0]))
                return
        latest = self.revisions[-1]
        latest.ready = latest.ready or self.fates.get(latest.version) != "never ready"
        if latest.ready and (self.spec[1] in (None, 100) or self.rolled_out is None):
            self.rolled_out = latest

    def traffic(self) -> dict[str, int]:
        ready = [r for r in self.revisions if r.ready]
        if not ready or self.observed is None:
            return {}
        share = 100 if self.observed[1] is None or self.rolled_out is None else self.observed[1]
        out = {ready[-1].version: share}
        if self.rolled_out is not None:
            out[self.rolled_out.version] = out.get(self.rolled_out.version, 0) + 100 - share
        return {version: percent for version, percent in out.items() if percent}

    def _version(self, alias: str) -> ModelVersion | None:
        name = self.aliases.get(alias)
        return None if name is None else ModelVersion(name, dict(self.tags.get(name, {})))

    def analysis(self) -> StepAnalysis | None:
        rollout = self.rollout
        if rollout is None or rollout.steps[-1].percent == 0:
            return None
        step, fate = rollout.steps[-1], self.fates.get(rollout.challenger, "pass")
        verdict = "pass"
        if fate == "inconclusive" or self.now - step.since < 5 * MINUTE:
            verdict = "inconclusive"
        elif fate.startswith("fail") and step.percent >= int(fate.partition("@")[2]):
            verdict = "fail"
        return StepAnalysis(rollout.challenger, step.percent, verdict, (f"{fate} at {step.percent}%",))  # type: ignore[arg-type]

    def state(self) -> RolloutState:
        latest = self.revisions[-1] if self.revisions else None
        stable = self.rolled_out
        serving = ServingState(
            version=self.spec[0],
            percent=self.spec[1],
            settled=self.observed == self.spec,
            ready=latest is not None and latest.ready,
            rolled_out=stable is not None and stable is latest,
            stable_version=None if stable is None else stable.version,
        )
        desired = DesiredState(self._version(CHAMPION), self._version(CHALLENGER), self.aliases.get(PREVIOUS_CHAMPION))
        return RolloutState(desired, serving, self.rollout, self.analysis(), self.override, self.now)

    def apply(self, action: Action) -> None:
        match action:
            case SetSpec(version, percent):
                assert percent in (0, None), "a version is pinned without traffic"
                assert percent == 0 or self.rolled_out is None
                self.spec = (version, percent)
            case SetPercent(percent):
                version = self.spec[0]
                if percent is None and version != self.aliases[CHAMPION]:
                    tag = self.tags.get(version, {}).get(ROLLOUT_TAG, "")
                    assert tag == f"passed over {self.aliases[CHAMPION]}"
                self.spec = (version, percent)
            case SetTag(version, tag):
                self.tags.setdefault(version, {})[ROLLOUT_TAG] = tag.encode()
            case SetAlias(alias, version):
                if alias == CHAMPION:
                    assert self.aliases.get(PREVIOUS_CHAMPION) == self.aliases[CHAMPION]
                    assert self.fates[version] == "pass" or version in self.forced, "a bad version became champion"
                    assert self.tags[version][ROLLOUT_TAG] == f"passed over {self.aliases[CHAMPION]}"
                    assert self.traffic() == {version: 100}, "aliases follow the traffic"
                self.aliases[alias] = version
            case DeleteAlias(alias):
                self.aliases.pop(alias, None)
            case Record(rollout):
                self.rollout = rollout
                if rollout is None:
                    self.override = None
            case Wait() | Hold():
                pass

    def tick(self, times: int = 1) -> Decision:
        decision = decide(self.state(), CONFIG)
        for _ in range(times):
            self.apply(decision.action)
        return decision

    def happen(self, event: str) -> None:
        name, _, argument = event.partition(" ")
        if name == "tick":
            self.tick()
        elif name == "twice":
            self.tick(2)
        elif name == "crash":
            decide(self.state(), CONFIG)
        elif name == "controller":
            self.controller()
        elif name == "minutes":
            self.now += float(argument) * MINUTE
        elif name == "challenger":
            self.aliases[CHALLENGER] = argument
        elif name == "withdraw":
            self.aliases.pop(CHALLENGER, None)
        elif name == "champion":
            self.aliases[CHAMPION] = argument
            self.forced.add(argument)
        elif name == "retry":
            self.tags.pop(self.aliases.get(CHALLENGER, ""), None)
        elif name == "percent":
            self.spec = (self.spec[0], None if argument == "none" else int(argument))
        elif name == "lose":
            self.rollout = None
        elif challenger := self.aliases.get(CHALLENGER):
            self.override = Override(name, challenger)  # type: ignore[arg-type]
            if name == "promote":
                self.forced.add(challenger)

    def settle(self) -> Decision:
        """Ticks, controller passes and minutes until nothing changes any more."""
        quiet = 0
        for _ in range(600):
            self.controller()
            self.now += MINUTE
            decision = self.tick()
            final = isinstance(decision.action, Hold) or decision.phase == "idle"
            quiet = quiet + 1 if final and not isinstance(decision.action, Record) else 0
            if quiet > 3:
                return decision
        raise AssertionError(f"not settled: {decision}, {self}")


VERSIONS = ("2", "3", "4")
ORDINARY = ("tick", "twice", "crash", "controller", "minutes 1", "minutes 7", "minutes 90")
DESIRED = (*(f"challenger {v}" for v in VERSIONS), "withdraw")
HANDS = ("hold", "abort", "promote", "champion 5", "retry", "percent 0", "percent 25", "percent none", "lose")
EVENTS = st.lists(st.sampled_from([*ORDINARY * 3, *DESIRED, *HANDS]), max_size=60)
CALM_EVENTS = st.lists(st.sampled_from([*ORDINARY * 2, *DESIRED]), max_size=60)
FATE = st.fixed_dictionaries({v: st.sampled_from(FATES) for v in VERSIONS})


def everything(fates: dict[str, str]) -> Everything:
    return Everything({"1": "pass", "5": "pass", **fates})


def outcome(all_: Everything, version: str) -> Outcome | None:
    tag = RolloutTag.decode(all_.tags.get(version, {}).get(ROLLOUT_TAG))
    return tag.outcome if tag is not None else None


def assert_at_rest(all_: Everything, last: Decision) -> None:
    challenger = all_.aliases.get(CHALLENGER)
    if last.phase == "held":
        assert challenger is not None
        wished = all_.override is not None and all_.override.action == "hold"
        assert wished or all_.fates[challenger] == "inconclusive"
        return
    champion = all_.aliases[CHAMPION]
    assert last.phase == "idle", last
    assert all_.spec == (champion, None)
    assert all_.traffic() == {champion: 100}
    assert all_.rollout is None
    if challenger is not None:
        assert outcome(all_, challenger) is Outcome.ROLLED_BACK


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FATE, CALM_EVENTS)
def test_it_converges_and_only_a_passing_version_gets_the_alias(fates: dict[str, str], events: list[str]) -> None:
    all_ = everything(fates)
    all_.settle()
    for event in events:
        all_.happen(event)
    challenger = all_.aliases.get(CHALLENGER)
    last = all_.settle()
    assert_at_rest(all_, last)
    champion = all_.aliases[CHAMPION]
    assert fates.get(champion, "pass") == "pass"
    # A controller that was down for longer than max_start looks like a revision that cannot start.
    tag = RolloutTag.decode(all_.tags.get(challenger or "", {}).get(ROLLOUT_TAG))
    slow = tag is not None and tag.reason_code is ReasonCode.START_TIMEOUT
    if challenger is not None and fates[challenger] == "pass" and not slow:
        assert champion == challenger
        assert outcome(all_, challenger) is Outcome.PROMOTED


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FATE, EVENTS)
def test_it_converges_when_people_interfere(fates: dict[str, str], events: list[str]) -> None:
    all_ = everything(fates)
    all_.settle()
    for event in events:
        all_.happen(event)
    assert_at_rest(all_, all_.settle())


@pytest.mark.parametrize("fate", FATES)
def test_one_rollout(fate: str) -> None:
    all_ = everything({"2": fate})
    all_.settle()
    all_.happen("challenger 2")
    shares = set()
    for _ in range(200):
        all_.controller()
        all_.now += MINUTE
        all_.tick()
        shares.add(all_.traffic().get("2", 0))
    assert_at_rest(all_, all_.settle())
    reached = {"pass": {0, 10, 25, 50, 100}, "inconclusive": {0, 10}, "never ready": {0}}
    upto = {"fail@10": {0, 10}, "fail@25": {0, 10, 25}, "fail@50": {0, 10, 25, 50}}
    assert shares == (reached | upto)[fate]
    if fate == "pass":
        assert (all_.aliases[CHAMPION], all_.aliases[PREVIOUS_CHAMPION]) == ("2", "1")
        assert CHALLENGER not in all_.aliases


def test_a_replaced_challenger_never_passes_its_share_on() -> None:
    """While the next revision starts, Knative's latest share would go to the one that it replaces."""
    all_ = everything({"2": "inconclusive", "3": "never ready"})
    all_.settle()
    all_.happen("challenger 2")
    for _ in range(20):
        all_.controller()
        all_.tick()
    assert all_.traffic() == {"2": 10, "1": 90}
    all_.happen("challenger 3")
    for _ in range(8):
        all_.tick()
        all_.controller()
    assert all_.spec == ("3", 0)
    assert all_.traffic() == {"1": 100}


def test_every_crash_point_of_a_promotion() -> None:
    """Stop after each write in turn, lose the memory of the process, go on: the same end."""
    for stop in range(14):
        all_ = everything({"2": "pass"})
        all_.settle()
        all_.happen("challenger 2")
        writes = 0
        while writes < stop:
            all_.controller()
            all_.now += MINUTE
            writes += not isinstance(all_.tick().action, Wait | Hold)
        second = replace(all_)
        assert_at_rest(second, second.settle())
        assert second.aliases == {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}, stop
