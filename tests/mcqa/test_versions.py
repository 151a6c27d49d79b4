"""`mcqa versions` against a registry and against none."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from registered_versions import Retraining, first_version, retrained
from typer.testing import CliRunner, Result

from functions.database import engine
from functions.migrate import migrate
from mcqa.verbs import app
from pipelines.registration.tracking import Tracking

MODEL = "versions-verb-test"
pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture(scope="module")
def environ(mlflow_url: str, processes: None, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    database = f"sqlite:///{tmp_path_factory.mktemp('versions') / 'loop.db'}"
    migrate(engine(database))
    environ = {"MLFLOW_TRACKING_URI": mlflow_url, "MCQA_REGISTERED_MODEL": MODEL, "MCQA_DATABASE_URL": database}
    first_version(mlflow_url, MODEL)
    tracking = Tracking(environ, MODEL)
    retrained(tracking, mlflow_url, "verb", Retraining("1", 0.8, 0.6, seed=5, size=120))
    tracking.set_alias("champion", "2")
    return {**environ, "COLUMNS": "160"}


def run(environ: Mapping[str, str], *args: str) -> Result:
    return CliRunner().invoke(app, ["versions", *args], env=dict(environ))


def test_the_list(environ: Mapping[str, str]) -> None:
    shown = run(environ)
    assert shown.exit_code == 0, shown.output
    header, two, one = shown.stdout.splitlines()
    assert header.split() == ["version", "aliases", "registered", "from", "gate", "canary"]
    assert two.startswith("2        champion")
    assert "version 1" in two
    assert "models/tiny" in one
    paged = run(environ, "--last", "1")
    assert "mcqa versions --before 2" in paged.stderr
    assert json.loads(run(environ, "--before", "2", "--json").stdout)["versions"][0]["version"] == "1"


def test_one(environ: Mapping[str, str]) -> None:
    shown = run(environ, "2")
    assert shown.exit_code == 0, shown.output
    for piece in (
        "drifted: confidence fell",
        "none: versions are not signed",
        "gate: ",
        "improvement",
        "RStd",
        "regex",
    ):
        assert piece in shown.stdout, piece
    facts = json.loads(run(environ, "2", "--json").stdout)
    assert facts["record"]["steps"][0]["name"] == "collect-data"
    assert facts["unavailable"] == {}
    first = run(environ, "1")
    assert "gate: none" in first.stdout
    assert "as champion of a later retraining" in first.stdout


def test_a_database_that_is_away_leaves_the_rest(environ: Mapping[str, str]) -> None:
    facts = json.loads(run({**environ, "MCQA_DATABASE_URL": "sqlite:////no/such.db"}, "2", "--json").stdout)
    assert list(facts["unavailable"]) == ["cause"]
    assert facts["evaluation"] is not None


def test_two_compared(environ: Mapping[str, str]) -> None:
    shown = run(environ, "2", "--against", "1", "--last", "2")
    assert shown.exit_code == 0, shown.output
    assert "120 questions that both answered, in one evaluation" in shown.stdout
    assert "only version 2 right" in shown.stdout
    assert shown.stdout.count("←") == 4
    assert "118 more" in shown.stderr
    assert len(json.loads(run(environ, "2", "--against", "1", "--json").stdout)["items"]) == 25


def test_what_is_asked_wrongly(environ: Mapping[str, str]) -> None:
    assert run(environ, "--against", "1").exit_code == 2
    missing = run(environ, "99")
    assert (missing.exit_code, "the registry has no version 99" in missing.stderr) == (1, True)
    away = run({**environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    assert (away.exit_code, away.stderr.count("\n")) == (1, 1)
