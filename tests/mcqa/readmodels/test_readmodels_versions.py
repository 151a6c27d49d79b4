"""What is said of versions, read from a real MLflow server and a real database."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from registered_versions import DIGEST, PRIOR, Retraining, first_version, key_of, retrained
from retraining_loop import feedback_database
from sqlalchemy import Engine, insert

from common.errors import SettingError, UnavailableError
from common.event_types import DRIFT_DETECTED
from functions.collect.tables import GivenAnswer
from functions.database import engine, transaction
from functions.drift.announce import event_id
from functions.drift.tables import DriftCheck
from functions.migrate import migrate
from functions.retrain.tables import RetrainRun
from mcqa.readmodels import comparison, evaluations, versions
from pipelines.bank import generate
from pipelines.registration.tracking import Tracking
from predictor import calibration, model_card

MODEL = "versions-test"
pytestmark = pytest.mark.usefixtures("processes")


@dataclass(frozen=True)
class Registry:
    """Versions 1 (first), 2 (trained from 1), 3 (trained from 2), 4 (from 1, by a release that kept no answers)."""

    url: str
    environ: dict[str, str]
    tracking: Tracking


@pytest.fixture(scope="module")
def registry(mlflow_url: str, processes: None, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    database = f"sqlite:///{tmp_path_factory.mktemp('versions') / 'loop.db'}"
    migrate(engine(database))
    environ = {"MLFLOW_TRACKING_URI": mlflow_url, "MCQA_REGISTERED_MODEL": MODEL, "MCQA_DATABASE_URL": database}
    tracking = Tracking(environ, MODEL)
    assert first_version(mlflow_url, MODEL) == "1"
    assert retrained(tracking, mlflow_url, "second", Retraining("1", 0.8, 0.6, seed=5)) == "2"
    assert retrained(tracking, mlflow_url, "third", Retraining("2", 0.85, 0.8, seed=6)) == "3"
    assert retrained(tracking, mlflow_url, "old", Retraining("1", 0.6, 0.6, seed=7, with_files=False)) == "4"
    tracking.set_alias("champion", "2")
    tracking.set_alias("challenger", "3")
    tracking.set_tag("4", "rollout", "rolled back from 2 (analysis-failed by analysis): too many failures")
    return Registry(mlflow_url, environ, tracking)


def test_the_list_is_paged_newest_first(registry: Registry) -> None:
    first = versions.listing(registry.environ, most=3)
    assert [line["version"] for line in first["versions"]] == ["4", "3", "2"]
    assert first["older"] == 2
    assert first["aliases"] == {"champion": "2", "challenger": "3"}
    rest = versions.listing(registry.environ, before=first["older"], most=3)
    assert [(line["version"], line["origin"]) for line in rest["versions"]] == [("1", "bootstrap")]
    assert rest["older"] is None


def test_a_line_says_what_was_decided(registry: Registry) -> None:
    four, three, two, one = versions.listing(registry.environ)["versions"]
    assert four["rollout"] == {
        "outcome": "rolled-back",
        "champion": "2",
        "reason_code": "analysis-failed",
        "initiated_by": "analysis",
        "text": "too many failures",
    }
    assert (two["aliases"], two["gate"], two["champion"]) == (["champion"], "pass", "1")
    assert (three["aliases"], three["origin"], three["data_digest"]) == (["challenger"], "retraining", DIGEST)
    assert (one["gate"], one["champion"], one["reason"], one["data_digest"]) == (None, None, "models/tiny", None)


def test_a_version_names_where_it_comes_from(registry: Registry) -> None:
    facts = versions.one(registry.environ, "2")
    assert facts is not None
    assert facts["run_key"] == key_of("second")
    assert (facts["subjects"], facts["drift_event"], facts["signature"]) == (
        ["lists", "loops", "regex"],
        "drift 1",
        None,
    )
    assert facts["page"] == f"{registry.url}/#/models/{MODEL}/versions/2"
    assert facts["gate_reason"].startswith("improvement: ")
    for missing in ("99", "0", "x'y", "-1", ""):
        assert versions.one(registry.environ, missing) is None


def test_the_record_has_steps_data_and_checks(registry: Registry) -> None:
    record = versions.record(registry.environ, key_of("second"))
    assert [step["name"] for step in record["steps"]] == ["collect-data", "evaluate", "gate"]
    assert all(step["status"] == "FINISHED" and step["ended"] is not None for step in record["steps"])
    assert record["data"]["data_digest"] == DIGEST
    assert record["data"]["train_new"] == "120"
    assert record["checks"] is not None
    assert record["checks"][0]["code"] == "proven-better"
    nothing = versions.record(registry.environ, "no such key")
    assert nothing == {"steps": [], "data": {}, "verdict": None, "checks": None}
    assert versions.record(registry.environ, "x' or tags.step = 'gate")["steps"] == []


def test_card_and_prior_are_read_from_the_versions_files(registry: Registry) -> None:
    assert (versions.CARD, versions.PRIOR) == (model_card.FILE, calibration.FILE)
    first, second = versions.files(registry.environ, "1"), versions.files(registry.environ, "2")
    assert first["card"] is not None
    assert (first["card"]["title"], first["card"]["stems"]) == ("tiny demonstration model", 1)
    assert first["card"]["accuracy"] == {"value": 0.69, "low": 0.67, "high": 0.7, "questions": 4000}
    assert (first["prior"], first["unreadable"]) == (None, [])
    assert second["prior"] == {"questions": 60, "priors": {4: list(PRIOR.priors[4])}}
    assert second["card"] is not None
    assert second["card"]["accuracy"] is None


def test_a_version_is_measured_as_challenger_else_as_champion(registry: Registry) -> None:
    second = evaluations.read(registry.environ, "2")
    assert second is not None
    assert (second["source"], second["against"]) == ("challenger", "1")
    [mix] = second["mixes"]
    assert mix["mix"] == "current"
    assert mix["accuracy"]["total"] == 400
    assert set(mix["subjects"]) == {"lists", "loops", "regex"}
    assert mix["accuracy"]["low"] < 0.8 < mix["accuracy"]["high"]
    assert sum(b["count"] for b in mix["bins"]) == 400
    assert mix["before"] is not None, "it has a letter prior"
    assert mix["before"]["bins"] != mix["bins"]
    first = evaluations.read(registry.environ, "1")
    assert first is not None
    assert (first["source"], first["mixes"][0]["before"]) == ("champion", None)
    assert first["mixes"][0]["accuracy"]["value"] < mix["accuracy"]["value"]
    assert evaluations.read(registry.environ, "4") is None
    assert evaluations.read(registry.environ, "99") is None


def test_two_versions_of_one_evaluation_are_compared_question_by_question(registry: Registry) -> None:
    facts = comparison.read(registry.environ, "2", "1")
    assert (facts["source"], facts["questions"], facts["labelled"], facts["without"]) == ("evaluation", 400, 400, [])
    counts = facts["outcomes"]
    assert sum(counts.values()) == 400
    assert facts["difference"] is not None
    assert facts["difference"]["value"] == (counts["only-version"] - counts["only-against"]) / 400
    assert 0 < facts["difference"]["low"] < facts["difference"]["high"]
    checks = versions.record(registry.environ, key_of("second"))["checks"] or []
    assert checks[0]["numbers"]["gained"] == counts["only-version"], "the gate counted the same"
    assert checks[0]["numbers"]["lost"] == counts["only-against"]
    assert sum(row["questions"] for row in facts["subjects"]) == 400
    first = facts["items"][0]
    assert first["outcome"] == "only-version"
    assert first["version"]["choice"] == first["right"] != first["against"]["choice"]
    mirrored = comparison.read(registry.environ, "1", "2")["outcomes"]
    assert (mirrored["only-version"], mirrored["only-against"]) == (counts["only-against"], counts["only-version"])


def test_versions_of_two_evaluations_are_compared_on_shared_questions(registry: Registry) -> None:
    """3 was compared with 2, and 2 with 1, on questions of another draw from the same bank."""
    facts = comparison.read(registry.environ, "3", "1")
    assert facts["source"] == "evaluations"
    assert 0 < facts["questions"] < 400


def test_without_stored_answers_it_says_which_version_has_none(registry: Registry) -> None:
    facts = comparison.read(registry.environ, "4", "1")
    assert (facts["source"], facts["questions"], facts["without"], facts["problem"]) == ("none", 0, ["4"], None)
    no_database = {name: value for name, value in registry.environ.items() if name != "MCQA_DATABASE_URL"}
    assert "MCQA_DATABASE_URL" in str(comparison.read(no_database, "4", "1")["problem"])


def test_the_databases_answers_stand_in(registry: Registry, tmp_path: Path) -> None:
    """The same questions, answered by 4 and by 1, the choices of one of them in another order."""
    questions = generate(8, 30, ("lists",))
    rotated = [q.shuffled(random.Random(1)) for q in questions]
    url = feedback_database(tmp_path, [*questions, *rotated], since=1000.0)
    rows = []
    for place, item in enumerate([*questions, *rotated]):
        version, right = ("4", place % 3 > 0) if place < 30 else ("1", True)
        letter = item.letter if right else "AB"[item.letter == "A"]
        row = {
            "source": "test/logger",
            "id": f"q-{place}",
            "place": 0,
            "version": version,
            "answered_at": 1000.0 + place,
        }
        rows.append({**row, "letter": letter, "confidence": 0.5})
    with transaction(engine(url)) as connection:
        connection.execute(insert(GivenAnswer), rows)
    facts = comparison.read({**registry.environ, "MCQA_DATABASE_URL": url}, "4", "1")
    assert (facts["source"], facts["questions"], facts["without"]) == ("answers", 30, ["4"])
    assert facts["outcomes"]["only-against"] == 10
    assert facts["outcomes"]["both-right"] == 20


@pytest.fixture
def database(registry: Registry) -> Engine:
    return engine(registry.environ["MCQA_DATABASE_URL"])


def test_the_cause_is_the_check_whose_alarm_asked_for_it(registry: Registry, database: Engine) -> None:
    check: dict[str, Any] = {
        "model": MODEL,
        "sequence": 7,
        "version": "1",
        "checked_at": 900.0,
        "window_start": 100.0,
        "window_end": 900.0,
        "n": 250,
        "verdict": "drift",
        "alarm": True,
        "document": {},
        "traceparent": "t",
        "reason": "confidence moved",
        "reason_code": "drift-detected",
        "initiated_by": "drift",
        "reason_params": None,
    }
    run: dict[str, Any] = {
        "key": key_of("second"),
        "model": MODEL,
        "champion": "1",
        "drift_source": "/mcqa/drift",
        "drift_id": "",
        "since": 100.0,
        "reason": "confidence moved",
        "traceparent": "t",
        "state": "succeeded",
        "attempt": 1,
        "parameters": {},
        "error": "",
        "created_at": 901.0,
        "updated_at": 902.0,
        "announced": 4,
    }
    with transaction(database) as connection:
        for sequence in (7, 8):
            connection.execute(insert(DriftCheck).values({**check, "sequence": sequence}))
        row = type("Row", (), check)
        connection.execute(insert(RetrainRun).values({**run, "drift_id": event_id(DRIFT_DETECTED, row)}))
        connection.execute(insert(RetrainRun).values({**run, "key": "asked", "drift_id": "somebody asked"}))
    caused = versions.cause(registry.environ, key_of("second"))
    assert caused is not None
    assert caused["alarm"] is not None
    assert (caused["alarm"]["sequence"], caused["alarm"]["n"]) == (7, 250)
    asked = versions.cause(registry.environ, "asked")
    assert asked is not None
    assert asked["alarm"] is None
    assert versions.cause(registry.environ, key_of("third")) is None


def test_what_is_away_is_one_sentence(registry: Registry) -> None:
    for read in (versions.listing, lambda environ: versions.one(environ, "1")):
        with pytest.raises(SettingError, match="MLFLOW_TRACKING_URI"):
            read({})
        with pytest.raises(UnavailableError, match="does not answer"):
            read({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})


def test_no_model_yet_is_an_empty_list(registry: Registry) -> None:
    environ = {**registry.environ, "MCQA_REGISTERED_MODEL": "never-registered"}
    assert versions.listing(environ) == {"model": "never-registered", "aliases": {}, "versions": [], "older": None}
    assert versions.one(environ, "1") is None


def test_a_file_that_is_too_large_is_not_read(registry: Registry) -> None:
    with pytest.raises(UnavailableError, match="more than 10 bytes"):
        registry.tracking.read_files("1", ("card.json",), 10)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"letter_prior": {"x": 1}}', b"[" * 100_000])
def test_broken_files_are_none(content: bytes) -> None:
    assert versions._card(content) is None
    assert versions._checks(content) is None
    assert list(evaluations._mixes(content, "champion")) == []


def test_a_page_on_a_cluster_can_import_it() -> None:
    """The page's image has common, functions, mcqa and ui only."""
    code = (
        "import sys; from mcqa.readmodels import comparison, evaluations, versions; "
        "print([m for m in sys.modules if m.split('.')[0] in ('local', 'predictor', 'pipelines', 'mlflow', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []
