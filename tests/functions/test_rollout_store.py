"""The rollout's memory on both databases, and the lock that lets one look at a time."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from sqlalchemy import Engine

from common.errors import UnavailableError
from functions.database import transaction
from functions.dead_letters import decision_log
from functions.reasons import CODE_COLUMNS, InitiatedBy, Reason
from functions.rollout import overrides, store
from functions.rollout.lock import single_writer
from functions.rollout.reasons import ReasonCode
from functions.rollout.state import Override, Rollout, StepRecord


def test_record_and_override(database: Engine) -> None:
    rollout = Rollout("7", "6", (StepRecord(0, 1.25), StepRecord(10, 2.5)))
    with transaction(database) as connection:
        assert store.read_record(connection, "m") is None
        for steps in (rollout.steps[:1], rollout.steps):
            store.write_record(connection, "m", Rollout("7", "6", steps))
        overrides.write(connection, "m", Override("hold", "7", "ann", at=1.0))
        overrides.write(connection, "m", Override("abort", "7", "bob", at=2.0))
        overrides.write(connection, "other", Override("hold", "1", at=2.0))
    with transaction(database) as connection:
        assert store.read_record(connection, "m") == rollout
        assert overrides.read(connection, "m") == Override("abort", "7", "bob", 2.0)
        store.write_record(connection, "m", None)
        assert store.read_record(connection, "m") is None
        assert overrides.read(connection, "m") is None, "forgotten with its rollout"
        assert overrides.read(connection, "other") is not None
        assert not overrides.clear(connection, "m")


def decision(**more: Any) -> dict[str, Any]:
    row = {"at": 1.0, "phase": "step", "action": "wait", "action_type": "wait", "champion": "6", "challenger": "7"}
    row |= Reason(ReasonCode.HELD, {"percent": 10}, initiated_by=InitiatedBy.OPERATOR).to_columns()
    return {**row, "percent": 10, "generation": "u/1", "evidence": None, "trace": None, "announces": None, **more}


def test_the_log_and_what_is_still_to_be_told(database: Engine) -> None:
    evidence = store.plain_json({"n": math.nan, "high": math.inf, "all": (1.5, {"x": -math.inf})})
    with transaction(database) as connection:
        first = store.append_decision(connection, "m", decision(announces="held", evidence=evidence))
        second = store.append_decision(connection, "m", decision())
        third = store.append_decision(connection, "m", decision(announces="upgraded"))
        store.append_decision(connection, "other", decision(announces="held"))
    assert first["evidence"] == {"n": None, "high": None, "all": [1.5, {"x": None}]}
    with transaction(database) as connection:
        rows = store.decisions(connection, "m", 2)
        assert [row["number"] for row in rows] == [third["number"], second["number"]]
        assert store.decisions_after(connection, "m", first["number"]) == [second, third]
        assert store.last_decision(connection, "m") == third
        decision_log.note(connection, "m", "replay", [("a", "t")] * 30, "ann", 3.0)
        assert store.last_decision(connection, "m") == third, "dead letters are not a rollout's"
        (newest,) = store.decisions(connection, "m", 1)
        assert (newest["percent"], newest["champion"], newest["initiated_by"]) == (10, "6", "operator")
        assert (newest["reason_params"]["n"], len(newest["reason_params"]["letters"])) == (30, 20)
        assert store.unannounced(connection, "m") == [first, third]
        store.mark_announced(connection, first["number"], 5.0)
        assert store.unannounced(connection, "m") == [third]


def test_the_look_is_overwritten(database: Engine) -> None:
    names = (
        "phase",
        "action",
        "action_type",
        "reason",
        *CODE_COLUMNS,
        "champion",
        "challenger",
        "percent",
        "evidence",
        "at",
    )
    for phase in ("step", "held"):
        with transaction(database) as connection:
            row = decision(phase=phase)
            store.write_status(connection, "m", {"version": "7", **{name: row[name] for name in names}})
    with transaction(database) as connection:
        status = store.read_status(connection, "m") or {}
        assert (status["phase"], status["reason_code"], status["initiated_by"]) == ("held", "held", "operator")
        assert status["reason_params"] == {"percent": 10}
        assert store.read_status(connection, "other") is None


def test_deliveries_are_noted_once_and_forgotten_in_time(database: Engine) -> None:
    with transaction(database) as connection:
        assert store.note_delivery(connection, "a", 100.0, 0.0)
        assert not store.note_delivery(connection, "a", 100.0, 0.0)
        assert store.delivered(connection, "a")
        store.note_delivery(connection, "b", 800.0, 140.0)
        assert not store.delivered(connection, "a")
        assert store.delivered(connection, "b")


def test_one_look_at_a_time(database: Engine) -> None:
    inside, most, wrong = [0], [0], []

    def reconcile() -> None:
        try:
            for _ in range(5):
                with single_writer(database, "m"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
        except Exception as error:  # noqa: BLE001 - reported by the assertion below, not lost with its thread
            wrong.append(error)

    threads = [threading.Thread(target=reconcile) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, wrong) == ([1], [])
    with (
        single_writer(database, "m"),
        pytest.raises(UnavailableError, match="another reconciliation"),
        single_writer(database, "m", 0.2),
    ):
        pass
    with pytest.raises(ZeroDivisionError), single_writer(database, "m"):
        raise ZeroDivisionError
    with single_writer(database, "m", 0.2):
        pass
