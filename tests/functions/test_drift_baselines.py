"""Accepted baselines on both databases, with the drift function's checker and a real registry."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from loop_parts import answer, reference, register, set_champion
from sqlalchemy import Engine, insert

from common.errors import UnavailableError
from common.event_types import DRIFT_CHECKED, PING
from common.mlflow.registry import ModelRegistry
from functions.collect.tables import GivenAnswer
from functions.database import transaction
from functions.drift import baselines, store
from functions.drift.acceptance import NothingAcceptedError, OtherBaselineError, TooFewAnswersError
from functions.drift.announce import announce
from functions.drift.checker import DriftChecker
from functions.drift.settings import Settings, read_settings
from functions.drift.store import checks, previous_state
from functions.events import Event

pytestmark = pytest.mark.usefixtures("processes")

NOW = time.time()
TICK = Event("1", "/ping", PING)


class Loop:
    """A champion with a reference, whose answers come in windows of 300 or more, an hour each."""

    def __init__(self, database: Engine, mlflow_url: str, files: dict[str, str]) -> None:
        self.model, self.database, self.mlflow_url = f"baseline-{uuid4().hex[:8]}", database, mlflow_url
        self.environ = {
            "MLFLOW_TRACKING_URI": mlflow_url,
            "MCQA_REGISTERED_MODEL": self.model,
            "MCQA_DRIFT_SETTLE_SECONDS": "0",
        }
        self.settings: Settings = read_settings(self.environ)
        self.version = register(mlflow_url, self.model, files)
        set_champion(mlflow_url, self.model, self.version)
        self.checker = DriftChecker(self.settings, database, ModelRegistry(self.environ, self.model))
        self.hour = 0

    def answers(self, shift: float, count: int = 300) -> float:
        """An hour of answers; its end."""
        self.hour += 1
        end = NOW + 3600.0 * self.hour
        answer(self.database, self.version, count, end - 3600, end, seed=self.hour, shift=shift)
        return end

    def check(self, shift: float, count: int = 300) -> Any:
        self.checker.check(TICK, self.answers(shift, count))
        return self.rows()[-1]

    def rows(self) -> list[Any]:
        with transaction(self.database) as connection:
            return list(reversed(checks(connection, self.model, 100)))

    def verdicts(self) -> list[tuple[str, bool]]:
        return [(row.verdict, row.alarm) for row in self.rows()]

    def accept(self, since: float | None = None, by: str = "hana") -> baselines.Accepted:
        return baselines.accept(self.database, self.settings, self.version, since, by, self.now)

    def undo(self, expected: int | None = None) -> baselines.Undone:
        return baselines.undo(self.database, self.settings, self.version, "binh", self.now, expected)

    @property
    def now(self) -> float:
        return NOW + 3600.0 * self.hour


@pytest.fixture
def make(database: Engine, mlflow_url: str) -> Callable[..., Loop]:
    return lambda **files: Loop(database, mlflow_url, files or {"reference.json": reference()})


def test_accepted_then_quiet_then_undone_then_alarmed_again(make: Callable[..., Loop]) -> None:
    loop = make()
    assert [loop.check(1.0).verdict for _ in range(3)] == ["suspect", "drift", "drift"]
    accepted = loop.accept()
    assert (accepted.sequence, accepted.n) == (4, 900), "since the answers began to differ"
    assert accepted.since == pytest.approx(NOW)
    row = loop.rows()[-1]
    assert (row.reason_code, row.initiated_by, row.n) == ("baseline-accepted", "operator", 900)
    assert row.document["state"] == {
        "version": loop.version,
        "since": loop.now,
        "streaks": {},
        "calm": 0,
        "alarmed_at": None,
    }

    assert loop.check(1.0, 1000).verdict == "no-drift", "against what was accepted"
    assert [loop.check(-1.0).verdict for _ in range(2)] == ["suspect", "drift"], "another drift is one again"
    assert [e["n_reference"] for e in loop.rows()[-1].document["evidence"]] == [900] * 6

    undone = loop.undo()
    assert (undone.undone, undone.baseline) == (4, None)
    assert loop.rows()[-1].reason_code == "baseline-undone"
    assert [loop.check(0.0, 1000).verdict, loop.check(1.0).verdict] == ["no-drift", "suspect"], "reference.json again"
    with pytest.raises(NothingAcceptedError):
        loop.undo()


def test_only_the_baseline_that_was_meant_is_taken_back(make: Callable[..., Loop]) -> None:
    loop = make()
    loop.answers(1.0)
    first = loop.accept()
    loop.answers(1.0)
    second = loop.accept(by="binh")
    with pytest.raises(OtherBaselineError, match=f"what check {second.sequence} accepted: nothing was taken back"):
        loop.undo(first.sequence)
    assert loop.undo(second.sequence).baseline == first.sequence
    with pytest.raises(OtherBaselineError):
        loop.undo(second.sequence)
    loop.undo(first.sequence)
    with pytest.raises(OtherBaselineError, match=r"its own reference\.json"):
        loop.undo(first.sequence)


def test_a_baseline_accepted_at_the_same_moment_stays(make: Callable[..., Loop], monkeypatch: Any) -> None:
    """Between reading what is in force and taking it back."""
    loop = make()
    loop.answers(1.0)
    loop.accept()
    loop.answers(1.0)
    read, meanwhile = store.previous_state, list[baselines.Accepted]()

    def accepted_meanwhile(*args: Any) -> Any:
        if not meanwhile:
            monkeypatch.setattr(baselines, "previous_state", read)
            meanwhile.append(loop.accept(by="binh"))
        return read(*args)

    monkeypatch.setattr(baselines, "previous_state", accepted_meanwhile)
    with pytest.raises(OtherBaselineError):
        loop.undo()
    with transaction(loop.database) as connection:
        row = baselines.in_force(connection, loop.model, loop.version)
    assert row is not None
    assert row.sequence == meanwhile[0].sequence == loop.rows()[-1].sequence, "no record of what was not done"


def test_the_function_announces_who_did_it(make: Callable[..., Loop]) -> None:
    loop, sent = make(), list[Event]()
    loop.answers(1.0)
    loop.accept()
    assert announce(loop.database, loop.model, sent.append, loop.now) == 1
    (event,) = sent
    assert event.type == DRIFT_CHECKED
    assert b'"by": "hana"' in event.data
    assert b'"reason_code": "baseline-accepted"' in event.data


def test_too_few_answers_change_nothing(make: Callable[..., Loop]) -> None:
    loop = make()
    with pytest.raises(TooFewAnswersError, match="0 answers"):
        loop.accept()
    loop.answers(1.0, 199)
    for since in (None, NOW, loop.now):
        with pytest.raises(TooFewAnswersError):
            loop.accept(since)
    assert loop.rows() == []
    assert loop.check(0.0).verdict == "suspect"


def test_only_real_answers_of_the_champion_since_then_count(make: Callable[..., Loop]) -> None:
    loop = make()
    loop.answers(5.0)
    begin = loop.now
    loop.answers(1.0)
    answer(loop.database, "another", 400, begin, loop.now, shift=5.0)
    test = {"source": "/logger", "id": "t", "place": 0, "version": loop.version, "letter": "A", "purpose": "test"}
    with transaction(loop.database) as connection:
        connection.execute(insert(GivenAnswer).values(**test, answered_at=begin + 1))
    accepted = loop.accept(begin)
    assert accepted.n == 300
    with transaction(loop.database) as connection:
        summary = baselines.reference(connection, loop.model, accepted.sequence)
    assert summary.features["confidence"].mean == pytest.approx(1.0, abs=0.2)


def test_a_second_acceptance_counts_and_taking_it_back_leaves_the_first(make: Callable[..., Loop]) -> None:
    loop = make()
    loop.answers(1.0)
    first = loop.accept()
    loop.answers(2.0)
    second = loop.accept()
    assert second.since == first.until, "the open window's begin"

    def measured_against(check: int | None = None) -> int | None:
        with transaction(loop.database) as connection:
            row = baselines.in_force(connection, loop.model, loop.version, check)
        return None if row is None else row.sequence

    assert measured_against() == second.sequence
    undone = loop.undo()
    assert (undone.undone, undone.baseline) == (second.sequence, first.sequence)
    assert measured_against() == first.sequence
    assert loop.undo().baseline is None
    assert [measured_against(check) for check in (1, 2, 3, 4, 5)] == [None, 1, 1, None, None]


def test_it_belongs_to_the_version(make: Callable[..., Loop]) -> None:
    loop = make()
    assert [loop.check(1.0).verdict for _ in range(2)] == ["suspect", "drift"]
    loop.accept()
    first, other = loop.version, register(loop.mlflow_url, loop.model, {"reference.json": reference()})
    set_champion(loop.mlflow_url, loop.model, other)
    loop.version = other
    assert loop.check(1.0).verdict == "suspect", "the new champion has its own reference"
    set_champion(loop.mlflow_url, loop.model, first)
    loop.version = first
    assert loop.check(1.0, 1000).verdict == "no-drift", "what was accepted still counts when it is champion again"


def test_it_gives_a_baseline_to_a_version_without_a_reference(make: Callable[..., Loop]) -> None:
    loop = make(**{"config.json": "{}"})
    assert loop.check(1.0).reason_code == "reference-missing"
    loop.accept(NOW)
    assert loop.check(1.0, 1000).verdict == "no-drift"


def test_an_acceptance_and_a_check_at_the_same_moment(
    make: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check that measured the old baseline is not stored after the acceptance; an acceptance waits for a check."""
    loop = make()
    loop.answers(1.0)
    measure = DriftChecker._reference

    def accept_meanwhile(checker: DriftChecker, version: str) -> Any:
        loop.accept()
        return measure(checker, version)

    with monkeypatch.context() as patched:
        patched.setattr(DriftChecker, "_reference", accept_meanwhile)
        assert loop.checker.check(TICK, loop.now) == "another check was quicker"
    assert [row.reason_code for row in loop.rows()] == ["baseline-accepted"]

    with monkeypatch.context() as patched:
        stale = previous_state
        patched.setattr(baselines, "previous_state", lambda *a: _behind(stale(*a)))
        with pytest.raises(UnavailableError, match="at the same moment"):
            loop.accept(NOW)
    assert loop.accept(NOW).sequence == 2


def _behind(state: Any) -> Any:
    from dataclasses import replace

    return replace(state, sequence=state.sequence - 1)
