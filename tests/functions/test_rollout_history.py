"""What `mcqa rollout status` and the page show of rollouts, from both databases."""

from __future__ import annotations

import pytest
from rollout_story import Story, three_rollouts
from sqlalchemy import Engine

from functions.database import transaction
from functions.dead_letters.decision_log import note
from functions.reasons import Reason
from functions.rollout.actions import Wait
from functions.rollout.reasons import ReasonCode
from mcqa.readmodels import rollout, rollout_history

NOW = 1_800_000_000.0


@pytest.fixture
def environ(database: Engine) -> dict[str, str]:
    three_rollouts(database, NOW)
    return {"MCQA_DATABASE_URL": database.url.render_as_string(hide_password=False)}


def test_rollouts_and_their_ends(environ: dict[str, str]) -> None:
    found = rollout_history.rollouts(environ)
    assert [(each["champion"], each["challenger"], each["outcome"]) for each in found] == [
        ("2", "4", "under-way"),
        ("2", "3", "rolled-back"),
        ("1", "2", "promoted"),
    ]
    assert [each["ended"] is None for each in found] == [True, False, False]
    assert rollout_history.rollouts(environ, 1) == found[:1]


def test_the_history_of_the_rollout_that_a_decision_belongs_to(environ: dict[str, str]) -> None:
    promoted, aborted = (each["number"] for each in rollout_history.rollouts(environ)[:0:-1])
    first = rollout_history.history(environ, promoted + 5)
    assert first is not None
    assert [share["percent"] for share in first["shares"]] == [0, 10, 25, 50, 100]
    assert first["rollout"]["challenger"] == "2"
    second = rollout_history.history(environ, aborted + 1)
    assert second is not None
    assert [share["percent"] for share in second["shares"]] == [0, 10, 0]
    newest = rollout_history.history(environ)
    assert newest is not None
    assert newest["rollout"]["challenger"] == "4"
    assert list(newest["guards"]) == ["share", "failures", "latency", "accuracy", "calibration", "letters"]
    accuracy = newest["guards"]["accuracy"]
    assert [point["at"] for point in accuracy] == sorted(point["at"] for point in accuracy)
    assert len(accuracy) <= rollout_history.POINTS
    assert {point["margin"] for point in accuracy} == {0.05 * 3, 0.05 * 2}, "wider while the share is small"
    assert rollout_history.history(environ, 0) is None


def test_since_when_the_champion_serves(environ: dict[str, str], database: Engine) -> None:
    found = rollout.read(environ, 0)["since"]
    assert found is not None
    assert found["decision"]["reason_code"] == "canary-passed", "what decided it, not the write that carried it out"
    assert found["decision"]["challenger"] == "2"
    promoted = rollout_history.rollouts(environ)[-1]["ended"]
    assert promoted is not None
    assert promoted <= found["at"] < promoted + 2
    with transaction(database) as connection:
        assert rollout_history.serving_since(connection, "coding-mcqa", "1") is None, "it serves no more"
        assert rollout_history.serving_since(connection, "coding-mcqa", None) is None
        assert rollout_history.serving_since(connection, "another", "2") is None


def test_a_first_champion_serves_since_it_was_seen_alone(database: Engine) -> None:
    with transaction(database) as connection:
        story = Story(connection, NOW)
        story.decide("deploying", Wait(), Reason(ReasonCode.NOTHING_DEPLOYED))
        note(connection, story.model, "discard", [("a", "t")], "ann", NOW)  # another operator's row in the log
        assert rollout_history.serving_since(connection, story.model, "1") is None
        story.decide("idle", Wait(), Reason(ReasonCode.CHAMPION_SERVES, {"version": "1"}))
        story.start("2")
        found = rollout_history.serving_since(connection, story.model, "1")
    assert found is not None
    assert (found["at"], found["decision"]["number"]) == (NOW + 1, 3)


def test_the_log_by_pages(environ: dict[str, str]) -> None:
    numbers, before = [], None
    while True:
        page = rollout_history.log(environ, before, 7)
        numbers += [row["number"] for row in page["decisions"]]
        assert not any(row["evidence"] for row in page["decisions"])
        if (before := page["older"]) is None:
            break
    assert numbers == list(range(len(numbers), 0, -1))
    who = {row["by"] for row in (rollout_history.decision(environ, n) for n in numbers) if row}
    assert who == {None, "ann <b>Nguyễn</b>"}
    assert rollout_history.decision(environ, 10_000) is None


def test_what_the_step_still_needs(environ: dict[str, str]) -> None:
    found = rollout.read(environ, 3)
    needs = {need["guard"]: need for need in found["needs"]}
    assert needs["failures"]["state"] == "proven"
    assert (needs["accuracy"]["state"], needs["accuracy"]["unit"]) == ("estimate", "labels")
    assert found["seconds_left"] == needs["accuracy"]["seconds"]
    assert needs["accuracy"]["per_hour"] == pytest.approx(20 * 0.4 * 60, rel=0.1)
