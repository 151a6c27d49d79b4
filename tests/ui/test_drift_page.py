"""The page Drift: against a real registry and a loop whose traffic changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drifted_loop import NEW, DriftedLoop
from shown_page import ShownPage

from common.mlflow.registry import ModelRegistry, RegisteredModel

Show = Callable[..., ShownPage]
pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture(scope="module")
def loop(mlflow_url: str, processes: None, tmp_path_factory: pytest.TempPathFactory) -> DriftedLoop:
    """Two usual hours, then two in which the questions and the confidence have changed: the last raises the alarm."""
    made = DriftedLoop(f"sqlite:///{tmp_path_factory.mktemp('drift-page') / 'loop.db'}", mlflow_url)
    for subjects, shift in (({"lists": 0.5, "strings": 0.3, "loops": 0.2}, 0.0),) * 2 + ((NEW, 1.2),) * 2:
        made.check(subjects, shift)
    return made


def button(page: ShownPage, key: str) -> None:
    page.app.button(key=key).click().run()
    assert not page.app.exception, page.app.exception


def test_an_alarm_says_why_it_was_raised(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("drift", loop.environ)
    assert ("warning", "differed from their baseline") in [
        (kind, "differed from their baseline") for kind, text in page.notices if "differed from their baseline" in text
    ]
    assert page.details["Why"].startswith(
        "2 windows in a row differ, the last with 400 answers against 1000: confidence"
    )
    assert page.details["What moved"].startswith("confidence moved by 1.1")
    assert page.details["Retraining"].startswith("not requested yet")
    evidence = page.tables["Evidence: how far each feature is from its baseline"]
    assert [(row[0], row[1]) for row in evidence if row[1] == "moved"] == [("confidence", "moved")]
    history = page.tables["The last 50 checks, the newest first"]
    assert [row[4] for row in history] == ["drift, alarm", "suspicion", "no drift", "no drift"]


def test_of_few_answers_nothing_is_said(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("drift", {**loop.environ, "MCQA_DRIFT_MIN_SAMPLE": "900"})
    evidence = page.tables["Evidence: how far each feature is from its baseline"]
    assert {tuple(row[1:5]) for row in evidence} == {("too few answers", "—", "0.10", "—")}


def test_the_subjects_and_the_accuracy_over_time(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("drift", loop.environ)
    shares = {row[0]: row[1] for row in page.tables["Share of questions by subject"]}
    assert set(shares) == {"sql", "lists", "strings", "loops"}
    (accuracy,) = (rows for caption, rows in page.tables.items() if caption.startswith("Accuracy of"))
    assert len(accuracy) >= 4
    assert all("[" in row[2] and "[" in row[4] for row in accuracy), "each with its interval"


def test_one_check_by_its_address(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("drift", loop.environ, check="2")
    assert page.details["Verdict"] == "no drift"
    assert any("window of check 2, 800 answers" in text for text in page.paragraphs)
    missing = show_page("drift", loop.environ, check="77")
    assert [text for _, text in missing.notices if "no check 77" in text]
    assert sum("no check" in text for _, text in missing.notices) == 1
    for given in ("<b>1</b>", "-1"):
        strange = show_page("drift", loop.environ, check=given)
        assert any(f"names check {given}," in text for _, text in strange.notices), given
        assert strange.details["Champion"] == "version 1"
    assert not any("names check" in text for _, text in show_page("drift", loop.environ, check="open").notices)


def test_questions_are_shown_as_they_were_written(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("drift", loop.environ)
    assert "<b>4</b>" not in "".join(str(element.value) for element in page.app.markdown)


def test_accepting_as_normal_is_off_unless_enabled(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("drift", loop.environ)
    assert not page.app.button
    assert any(kind == "info" and "are off" in text for kind, text in page.notices)


def test_what_is_accepted_is_of_the_version_that_was_named(
    loop: DriftedLoop, show_page: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = show_page("drift", {**loop.environ, "MCQA_UI_ACTIONS": "1"})
    button(page, "drift accept button")
    assert any("instead of what version 1 is measured against" in text for text in page.paragraphs)
    promoted = RegisteredModel(loop.model, {"champion": "2"})  # while somebody reads
    monkeypatch.setattr(ModelRegistry, "model", lambda self: promoted)
    button(page, "drift accept confirm")
    assert [text for _, text in page.notices if "the champion is version 2 now, not version 1" in text]


def test_accepting_as_normal_asks_first_and_is_recorded(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("drift", {**loop.environ, "MCQA_UI_ACTIONS": "1"})
    button(page, "drift accept button")
    assert any("answers" in text and "measured against" in text for text in page.paragraphs)
    button(page, "drift accept cancel")
    assert "drift accept confirm" not in {each.key for each in page.app.button}
    button(page, "drift accept button")
    button(page, "drift accept confirm")
    assert any(kind == "success" for kind, _ in page.notices), page.notices
    again = show_page("drift", {**loop.environ, "MCQA_UI_ACTIONS": "1"})
    assert "what version 1 answered when it was registered" not in again.details["Measured against"]
    assert "(page)" in again.everything or "page" in again.details["Measured against"]


def test_without_a_registry_or_a_database(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("drift", {**loop.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert {kind for kind, _ in page.notices} >= {"error"}
    page = show_page("drift", {**loop.environ, "MCQA_DATABASE_URL": "sqlite:////proc/nowhere/loop.db"})
    assert {kind for kind, _ in page.notices} >= {"error"}
