"""`mcqa drift status` on a database with checks and a retraining, and a real registry."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer
from loop_parts import answer, reference, register, set_champion
from typer.testing import CliRunner

from common.event_types import DRIFT_DETECTED
from common.mlflow.registry import ModelRegistry
from functions.database import engine
from functions.drift.announce import events_of
from functions.drift.checker import DriftChecker
from functions.drift.settings import read_settings
from functions.drift.store import checks
from functions.events import Event
from functions.migrate import migrate
from functions.reasons import InitiatedBy
from functions.retrain.decision import read_drift
from functions.retrain.store import insert_waiting
from mcqa.drift import drift_app
from mcqa.errors import CommandError

pytestmark = pytest.mark.usefixtures("processes")

PING = Event("1", "/ping", "dev.knative.sources.ping")


@pytest.fixture
def environ(tmp_path: Path, mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    variables = {
        "MCQA_DATABASE_URL": f"sqlite:///{tmp_path}/loop.db",
        "MLFLOW_TRACKING_URI": mlflow_url,
        "MCQA_REGISTERED_MODEL": f"status-{uuid4().hex[:8]}",
        "MCQA_DRIFT_SETTLE_SECONDS": "0",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    migrate(engine(variables["MCQA_DATABASE_URL"]))
    return variables


def run(*arguments: str, verb: str = "status") -> str:
    whole = typer.Typer()
    whole.add_typer(drift_app, name="drift")
    done = CliRunner().invoke(whole, ["drift", verb, *arguments], env={"COLUMNS": "160"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_from_nothing_to_an_alarm_and_its_retraining(environ: dict[str, str], mlflow_url: str) -> None:
    model, database = environ["MCQA_REGISTERED_MODEL"], engine(environ["MCQA_DATABASE_URL"])
    nothing = json.loads(run("--json"))
    assert (nothing["champion"], nothing["window"], nothing["checks"], nothing["alarm"]) == (None, None, [], None)
    assert "has no champion" in run()

    version = register(mlflow_url, model, {"reference.json": reference()})
    set_champion(mlflow_url, model, version)
    drift = DriftChecker(read_settings(environ), database, ModelRegistry(environ, model))
    for seed in (1, 2):
        answer(database, version, 300, time.time() - 0.01, time.time(), seed=seed, shift=1.0)
        drift.check(PING, time.time())
        if seed == 1:
            suspected = json.loads(run("--json"))
            assert (suspected["streaks"], suspected["alarm"], suspected["retraining"]) == (
                {"confidence": 1},
                None,
                None,
            )
    answer(database, version, 40, time.time() - 0.01, time.time(), seed=3)
    assert "retraining not requested yet" in run()

    with database.begin() as connection:
        (newest, _) = checks(connection, model)
        detected: Any = next(e for e in events_of(newest) if e.type == DRIFT_DETECTED)
        asked = read_drift(json.loads(detected.data))
        trace = detected.extensions["traceparent"]
        insert_waiting(connection, asked, InitiatedBy.DRIFT, detected.source, detected.id, trace, time.time())
    facts = json.loads(run("--json"))
    assert facts["champion"] == version
    assert facts["window"]["answers"] == 40
    assert [(c["verdict"], c["alarm"]) for c in facts["checks"]] == [("drift", True), ("suspect", False)]
    assert [e["feature"] for e in facts["checks"][0]["evidence"] if e["rejected"]] == ["confidence"]
    assert facts["alarm"]["sequence"] == 2
    assert (facts["retraining"]["key"], facts["retraining"]["state"]) == (asked.key, "waiting")
    shown = run()
    for part in (f"version {version}", "40 answers", "drift, alarm", "suspect", "ks", "chi-square", "moved", "0.1"):
        assert part in shown
    assert f"retrain-{asked.key[:16]} waiting" in shown
    assert len(json.loads(run("--json", "--last", "1"))["checks"]) == 1


def test_a_registry_that_is_away_is_one_line(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(CommandError, match=r"MLflow server.*mcqa status"):
        run()


def test_accept_and_undo(environ: dict[str, str], mlflow_url: str) -> None:
    model, database = environ["MCQA_REGISTERED_MODEL"], engine(environ["MCQA_DATABASE_URL"])
    with pytest.raises(CommandError, match="has no champion"):
        run(verb="accept")
    version = register(mlflow_url, model, {"reference.json": reference()})
    set_champion(mlflow_url, model, version)
    drift = DriftChecker(read_settings(environ), database, ModelRegistry(environ, model))
    with pytest.raises(CommandError, match="0 answers of version 1 are too few for a baseline, 200 needed"):
        run(verb="accept")
    for seed in (1, 2):
        answer(database, version, 300, time.time() - 0.01, time.time(), seed=seed, shift=1.0)
        drift.check(PING, time.time())
    assert f"baseline   reference.json of version {version}" in run()
    for given, complaint in (("soon", "--since must be a time like"), ("2999-01-01", "--since must be in the past")):
        with pytest.raises(CommandError, match=complaint):
            run("--since", given, verb="accept")
    with pytest.raises(CommandError, match="too few"):
        run("--since", "0.001s", verb="accept")
    with pytest.raises(CommandError, match=f"the champion is version {version}, not version 99: nothing was accepted"):
        run("--version", "99", verb="accept")
    said = run("--version", version, verb="accept")
    assert f"version {version}: from now on drift is measured against the 600 answers since 20" in said

    facts = json.loads(run("--json"))
    assert (facts["baseline"]["source"], facts["baseline"]["n"]) == ("accepted", 600)
    assert facts["checks"][0]["reason_code"] == "baseline-accepted"
    assert {"distributions", "subjects", "accuracy"} <= set(facts)
    shown = run()
    assert "600 answers since" in shown
    assert ", accepted by " in shown
    with pytest.raises(CommandError, match="leave out --since"):
        run("--undo", "--since", "2h", verb="accept")
    with pytest.raises(CommandError, match="leave it out with --undo"):
        run("--undo", "--version", version, verb="accept")
    with pytest.raises(CommandError, match="add --undo"):
        run("--check", "3", verb="accept")
    with pytest.raises(CommandError, match="what check 3 accepted: nothing was taken back"):
        run("--undo", "--check", "2", verb="accept")
    assert "the baseline of check 3 no longer counts; drift is measured against its own reference.json" in run(
        "--undo", "--check", "3", verb="accept"
    )
    with pytest.raises(CommandError, match="has no accepted baseline"):
        run("--undo", verb="accept")
