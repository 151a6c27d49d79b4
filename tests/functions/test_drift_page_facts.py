"""The facts of the page Drift from both databases: queries that are bounded, and what became of an alarm."""

from __future__ import annotations

import time

import pytest
from drifted_loop import NEW, USUAL, DriftedLoop
from mlflow import MlflowClient

from common.event_types import DRIFT_DETECTED
from functions.database import transaction
from functions.drift.announce import events_of
from functions.drift.store import last_alarm
from functions.reasons import InitiatedBy
from functions.retrain.decision import RetrainRequest
from functions.retrain.store import find, insert_waiting, update_unchanged
from mcqa import baseline
from mcqa.readmodels import drift, drift_accuracy, drift_distributions, drift_subjects

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
def loop(database_url: str, mlflow_url: str) -> DriftedLoop:
    """Check 1 is quiet, 2 suspects, 3 raises the alarm; then an hour that nothing has checked."""
    made = DriftedLoop(database_url, mlflow_url, hours=4)
    for subjects, shift, count in ((USUAL, 0.0, 1000), (NEW, 1.2, 400), (NEW, 1.2, 400)):
        made.check(subjects, shift, count)
    made.answers(NEW, 1.2, 150)
    return made


def test_the_facts_of_an_alarm(loop: DriftedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = drift.read(loop.environ, 10)
    assert [check["verdict"] for check in facts["checks"]] == ["drift", "suspect", "no-drift"]
    assert facts["baseline"] is not None
    assert (facts["baseline"]["source"], facts["baseline"]["check"]) == ("reference", None)
    assert facts["differs_since"] == pytest.approx(loop.begin + 3600), "since the first suspicious window"
    assert facts["window"] is not None
    assert facts["window"]["answers"] == 150
    monkeypatch.setattr(drift, "MOST_COUNTED", 100)
    limited = drift.read(loop.environ, 1)
    assert limited["window"] is not None
    assert limited["window"]["answers"] == 100
    assert drift.read_check(loop.environ, 2) == facts["checks"][1]
    assert drift.read_check(loop.environ, 99) is None


def test_the_distributions_of_the_open_window_and_of_a_check(
    loop: DriftedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_window = drift_distributions.read(loop.environ)
    assert (open_window["n"], open_window["sampled"], open_window["problem"]) == (150, False, None)
    features = {f["feature"]: f for f in open_window["features"]}
    assert list(features) == ["confidence", "margin", "entropy", "letter_mass", "prompt_tokens"]
    assert features["confidence"]["evidence"] is not None
    assert features["confidence"]["evidence"]["rejected"]
    assert features["confidence"]["mean"] < features["confidence"]["mean_baseline"] - 0.05
    assert sum(share["current"] for share in open_window["letters"]) == pytest.approx(1)
    quiet = drift_distributions.read(loop.environ, 1)
    (stored,) = (check for check in drift.read(loop.environ, 10)["checks"] if check["sequence"] == 1)
    assert [f["evidence"] for f in quiet["features"]] == stored["evidence"][:-1], "as it was stored"
    assert quiet["n"] == 1000
    monkeypatch.setattr(drift_distributions, "MOST_ANSWERS", 50)
    assert drift_distributions.read(loop.environ, 1)["sampled"]
    assert drift_distributions.read(loop.environ, 99)["problem"] == "no-check"


def test_the_subjects_that_grew_have_examples(loop: DriftedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = drift_subjects.read(loop.environ)
    assert (facts["n"], facts["n_before"]) == (950, 1000)
    grown = [subject for subject in facts["subjects"] if subject["grew"]]
    assert [subject["subject"] for subject in grown] == ["sql"]
    examples = grown[0]["examples"]
    assert len(examples) == drift_subjects.EXAMPLES
    assert all(example["question"]["subject"] == "sql" for example in examples)
    assert len({str(example["question"]) for example in examples}) == len(examples)
    of_check = drift_subjects.read(loop.environ, 3)
    assert of_check["n"] == 800, "both windows of the alarm"
    assert drift_subjects.read(loop.environ, 99)["version"] is None
    monkeypatch.setattr(drift_subjects, "MOST_QUESTIONS", 20)
    assert drift_subjects.read(loop.environ)["n"] == 20


def test_accuracy_over_time(loop: DriftedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = drift_accuracy.read(loop.environ, "day")
    assert (facts["champion"], facts["versions"], facts["complete_since"]) == (loop.version, [loop.version], None)
    labels = sum(point["labels"] for point in facts["points"])
    assert 250 < labels < 550, "a fifth of 1950"
    first, last = facts["points"][0], facts["points"][-1]
    assert first["estimated"] is not None
    assert last["estimated"] is not None
    assert first["estimated"] > last["estimated"] + 0.05
    monkeypatch.setattr(drift_accuracy, "MOST_LABELS", 40)
    cut = drift_accuracy.read(loop.environ, "day")
    assert sum(point["labels"] for point in cut["points"]) == 40
    assert cut["complete_since"] is not None


def test_what_became_of_the_alarm(loop: DriftedLoop) -> None:
    assert drift.read(loop.environ, 1)["retraining"] is None
    with transaction(loop.database) as connection:
        alarm = last_alarm(connection, loop.model)
        assert alarm is not None
        (event,) = (event for event in events_of(alarm) if event.type == DRIFT_DETECTED)
        request = RetrainRequest(loop.model, "x", "drift", loop.version)
        insert_waiting(connection, request, InitiatedBy.DRIFT, event.source, event.id, "", time.time())
    facts = drift.read(loop.environ, 1)
    assert facts["retraining"] is not None
    assert (facts["retraining"]["state"], facts["registered"]) == ("waiting", None)
    first, made = loop.version, loop.register()
    with transaction(loop.database) as connection:
        waiting = find(connection, request.key)
        assert waiting is not None
        update_unchanged(connection, waiting, time.time(), state="succeeded", version=made)

    def became() -> tuple[str, str] | None:
        registered = drift.read(loop.environ, 1)["registered"]
        return (registered["state"], registered["text"]) if registered else None

    client = MlflowClient(loop.mlflow_url)
    assert became() == ("champion", "")
    client.set_registered_model_alias(loop.model, "champion", first)
    assert became() == ("registered", "")
    client.set_registered_model_alias(loop.model, "challenger", made)
    assert became() == ("challenger", "")
    for tag, outcome in (
        (f"passed over {first}", ("passed", "")),
        (f"promoted over {first}", ("promoted", "")),
        (f"rolled back from {first} (aborted by operator): too slow", ("rolled-back", "too slow")),
    ):
        client.set_model_version_tag(loop.model, made, "rollout", tag)
        assert became() == outcome
    client.delete_model_version(loop.model, made)
    assert became() == ("gone", "")


def test_an_accepted_baseline_is_what_is_shown_and_compared_with(loop: DriftedLoop) -> None:
    now = time.time()
    found = baseline.candidate(loop.environ, loop.begin + 3600)
    assert (found["n"], found["needed"]) == (950, 200)
    accepted = baseline.accept(loop.environ, None, "hana", now)
    facts = drift.read(loop.environ, 1)
    assert facts["baseline"] == {
        "source": "accepted", "version": loop.version, "check": accepted.sequence, "accepted_at": now,
        "accepted_by": "hana", "since": accepted.since, "until": accepted.until, "n": 950,
    }  # fmt: skip
    assert facts["differs_since"] is None
    assert drift_distributions.read(loop.environ)["features"][0]["n_baseline"] == 950
    assert drift_distributions.read(loop.environ, 3)["features"][0]["n_baseline"] == 1000, (
        "what it was measured against"
    )
    assert baseline.undo(loop.environ, "hana", now).baseline is None


def test_answers_of_another_champion_than_the_named_one_are_not_accepted(loop: DriftedLoop) -> None:
    named = baseline.candidate(loop.environ, loop.begin + 3600)["version"]
    now = loop.register()
    with pytest.raises(baseline.OtherChampionError, match=f"version {now}, not version {named}: nothing was accepted"):
        baseline.accept(loop.environ, loop.begin + 3600, "hana", time.time(), named)
    facts = drift.read(loop.environ, 1)
    assert facts["baseline"] is not None
    assert (facts["baseline"]["source"], facts["checks"][0]["verdict"]) == ("reference", "drift")


def test_without_a_champion_or_a_reference(loop: DriftedLoop) -> None:
    loop.register(with_reference=False)
    bare = drift_distributions.read(loop.environ)
    assert (bare["problem"], bare["features"]) == ("reference-missing", [])
    empty = {**loop.environ, "MCQA_REGISTERED_MODEL": "nothing-here"}
    assert drift_distributions.read(empty)["problem"] == "no-champion"
    assert drift_subjects.read(empty)["subjects"] == []
    assert drift.read(empty, 5)["baseline"] is None
    with pytest.raises(baseline.NoChampionError, match="no champion"):
        baseline.accept(empty, None, "hana", time.time())
