"""`mcqa rollout` against a real registry and database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from rollout_loop import Model, SinkServer
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from common.event_types import ROLLOUT_REQUESTED, SOURCE_UI
from functions.database import engine, transaction
from functions.migrate import migrate
from functions.rollout import operator_actions, overrides, store
from functions.rollout.analysis import analyse
from functions.rollout.evidence import Arm, StepEvidence
from functions.rollout.operator_actions import Done, Refusal, RefusedError
from functions.rollout.state import Override, Rollout, StepRecord
from mcqa.rollout import rollout_app
from mcqa.verbs import Group


@dataclass
class Case:
    model: Model
    engine: Engine
    sink: SinkServer

    def run(self, *arguments: str) -> Result:
        app = typer.Typer(cls=Group)
        app.add_typer(rollout_app, name="rollout")
        return CliRunner().invoke(app, ["rollout", *arguments])

    def act(self, action: Any, by: str, version: str | None = "2", **seen: Any) -> Done:
        return operator_actions.act(os.environ, action, by, SOURCE_UI, version, **seen)

    def log(self) -> list[Any]:
        with transaction(self.engine) as connection:
            return list(reversed(store.decisions(connection, self.model.name, 50)))

    def override(self) -> Override | None:
        with transaction(self.engine) as connection:
            return overrides.read(connection, self.model.name)


@pytest.fixture(scope="module")
def model(mlflow_url: str, processes: None) -> Model:
    made = Model(mlflow_url, f"rollout-cli-{os.getpid()}")
    made.create(2)
    made.alias("champion", "1")
    return made


@pytest.fixture
def case(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: None) -> Iterator[Case]:
    database = engine(f"sqlite:///{tmp_path}/loop.db")
    migrate(database)
    sink = SinkServer()
    env = {"MCQA_DATABASE_URL": f"sqlite:///{tmp_path}/loop.db", "MLFLOW_TRACKING_URI": model.url, "K_SINK": sink.url}
    for name, value in {**env, "MCQA_REGISTERED_MODEL": model.name, "COLUMNS": "160"}.items():
        monkeypatch.setenv(name, value)
    yield Case(model, database, sink)
    sink.stop()
    database.dispose()


@pytest.mark.usefixtures("processes")
def test_without_a_rollout_it_says_so(case: Case) -> None:
    result = case.run("promote")
    assert result.exit_code == 1
    assert "there is no rollout" in result.output
    assert "version 1 is champion" in result.output
    assert (case.override(), case.sink.events) == (None, [])
    assert "has not run yet" in case.run("status").output


def test_overrides(case: Case) -> None:
    case.model.alias("challenger", "2")
    other = case.run("abort", "--version", "1")
    assert (other.exit_code, case.override()) == (1, None)
    assert "the challenger is version 2" in other.output
    for action in ("hold", "promote", "abort"):
        result = case.run(action, "--version", "2")
        assert result.exit_code == 0, result.output
        assert f"{action} challenger 2: noted, the rollout function applies it now" in result.output
        override = case.override()
        assert override is not None
        assert (override.action, override.challenger) == (action, "2")
        assert case.sink.events[-1]["ce-type"] == ROLLOUT_REQUESTED
    assert case.run("resume").exit_code == 0
    assert case.override() is None
    assert "nothing to resume" in case.run("resume").output
    case.sink.status = 503
    result = case.run("hold")
    assert (result.exit_code, case.override() is None) == (0, False)
    assert "at the next tick" in result.output
    case.model.call("POST", "model-versions/set-tag", name=case.model.name, version="2", key="rollout",
                    value="rolled back from 1: slow")  # fmt: skip
    assert "rolled back from 1: slow" in case.run("promote").output
    case.model.untag("2", "rollout")


def test_what_an_operator_did_is_in_the_log_with_the_name(case: Case) -> None:
    case.model.alias("challenger", "2")
    for action in operator_actions.ACTIONS[:2]:
        case.act(action, "Ann  <ann@example.org>\n")
    case.act("resume", "bob")
    rows = case.log()
    assert [
        (row["action_type"], row["reason_code"], row["initiated_by"], row["reason_params"]["by"]) for row in rows
    ] == [
        ("override", "promote-requested", "operator", "Ann <ann@example.org>"),
        ("override", "hold-requested", "operator", "Ann <ann@example.org>"),
        ("override", "resume-requested", "operator", "bob"),
    ]
    assert rows[-1]["reason"].endswith("withdraws the override (hold) of challenger 2: its evidence decides again: bob")
    assert {(row["champion"], row["challenger"]) for row in rows} == {("1", "2")}
    assert case.sink.events[-1]["ce-source"] == SOURCE_UI
    assert case.sink.events[-1]["data"] == {"action": "resume", "challenger": "2", "by": "bob"}


def test_of_two_operators_the_second_is_told(case: Case) -> None:
    case.model.alias("challenger", "2")
    first = case.act("hold", "ann", seen=None)
    with pytest.raises(RefusedError, match="hold, by ann") as refused:
        case.act("promote", "bob", seen=None)
    assert refused.value.code is Refusal.OVERRIDDEN
    second = case.act("abort", "ann", seen=first.at)
    for action in ("promote", "resume"):
        with pytest.raises(RefusedError, match="abort, by ann"):
            case.act(action, "bob", seen=first.at)
    assert case.override() == Override("abort", "2", "ann", second.at)
    assert case.act("resume", "bob", seen=second.at).decision == case.log()[-1]["number"]
    assert len(case.log()) == 3, "what was refused is not in the log"


def test_an_action_is_for_the_challenger_that_was_named(case: Case) -> None:
    """An override of the challenger before is void, and no override to resume from."""
    case.model.alias("challenger", "2")
    with transaction(case.engine) as connection:
        overrides.write(connection, case.model.name, Override("abort", "7", "ann", 5.0))
    for version, action, code in (("1", "promote", "other-challenger"), ("2", "resume", "no-override")):
        with pytest.raises(RefusedError) as refused:
            case.act(action, "bob", version, seen=5.0)
        assert refused.value.code == code
    assert case.override() == Override("abort", "7", "ann", 5.0)
    case.act("hold", "bob", "2", seen=5.0)
    assert case.log()[-1]["challenger"] == "2"


def test_status(case: Case) -> None:
    arms = Arm(900, 3, {17: 897}, {"A": 897}, 500, 400, 50.0, 10.0), Arm(100, 20, {17: 80}, {"A": 80})
    analysis = analyse([StepEvidence(10, 0.0, *arms)], 1000.0)
    row = {"at": 1000.0, "phase": "step", "action": "set 0% of the traffic", "reason": analysis.reason}
    row |= {"champion": "1", "challenger": "2", "percent": 10, "evidence": store.plain_json(analysis.to_dict())}
    with transaction(case.engine) as connection:
        store.write_status(connection, case.model.name, {**row, "version": "2"})
        store.append_decision(connection, case.model.name, {**row, "generation": "u/1", "trace": None})
        store.write_record(connection, case.model.name, Rollout("2", "1", (StepRecord(10, 0.0),)))
        overrides.write(connection, case.model.name, Override("hold", "2", "ann", at=1.0))
    result = case.run("status")
    assert result.exit_code == 0, result.output
    for text in ("version 1, 90% of the traffic", "[10%] → 25%", "failures", "0.200", "900 / 100", "hold version 2"):
        assert text in result.output, result.output
    assert "What to do: nothing; mcqa rollout promote, hold or abort" in result.output
    whole = json.loads(case.run("status", "--json").output)
    assert whole["steps"] == [{"percent": 10, "since": 0.0}]
    assert whole["look"]["evidence"]["verdict"] == "fail"
    assert whole["wish"] == {"action": "hold", "challenger": "2", "by": "ann", "at": 1.0}


@pytest.mark.parametrize("champion", ["1", None])
@pytest.mark.parametrize("challenger", ["2", None])
@pytest.mark.parametrize("percent", [10, 0, None])
@pytest.mark.parametrize("compared", [{"champion": "1", "challenger": "2"}, {}])
def test_what_is_not_there_is_named_so(
    case: Case, champion: str | None, challenger: str | None, percent: int | None, compared: dict[str, str]
) -> None:
    """Aliases go (an operator's, a rollback's) while the evidence on their versions is still shown."""
    analysis = analyse([StepEvidence(10, 0.0, Arm(90, 0, {17: 90}), Arm())], 1000.0)
    evidence = {**store.plain_json(analysis.to_dict()), **compared}
    row = {"at": 1000.0, "phase": "rolling-back", "action": "wait", "reason": "no challenger", "evidence": evidence}
    row |= {"champion": champion, "challenger": challenger, "percent": percent}
    with transaction(case.engine) as connection:
        store.write_status(connection, case.model.name, {**row, "version": challenger})
        store.append_decision(connection, case.model.name, {**row, "generation": "u/1", "trace": None})
    result = case.run("status").output
    assert "None" not in result
    assert "nan" not in result
    assert "version none" not in result
    lines = {line.split()[0]: line for line in result.splitlines() if line}
    assert ("version 2" if challenger else "none") in lines["challenger"]
    assert ("version 2" if compared else "challenger") in lines["measure"]


@pytest.mark.usefixtures("processes")
def test_a_loop_that_is_away(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = case.run("promote")
    assert result.exit_code == 1
    assert "the MLflow server" in result.output
    monkeypatch.setenv("MCQA_DATABASE_URL", "sqlite:////nowhere/loop.db")
    assert "database is not available" in case.run("status").output
