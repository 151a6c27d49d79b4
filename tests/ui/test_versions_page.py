"""The page Versions: its branches against a real registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from command_process import silent
from registered_versions import Retraining, first_version, retrained
from relay import relay
from shown_page import ShownPage

from functions.database import engine
from functions.migrate import migrate
from pipelines.registration.tracking import Tracking
from ui import facts

MODEL = "versions-page-test"
CHOICES = "Question 1: the choices, and how sure the version that chose one was"
pytestmark = pytest.mark.usefixtures("processes")

Show = Callable[..., ShownPage]


@pytest.fixture(scope="module")
def environ(mlflow_url: str, processes: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    database = f"sqlite:///{tmp_path_factory.mktemp('versions') / 'loop.db'}"
    migrate(engine(database))
    environ = {"MLFLOW_TRACKING_URI": mlflow_url, "MCQA_REGISTERED_MODEL": MODEL, "MCQA_DATABASE_URL": database}
    first_version(mlflow_url, MODEL)
    tracking = Tracking(environ, MODEL)
    retrained(tracking, mlflow_url, "page", Retraining("1", 0.8, 0.6, seed=5, size=120))
    retrained(tracking, mlflow_url, "old", Retraining("1", 0.6, 0.6, seed=7, size=120, with_files=False))
    tracking.set_alias("champion", "2")
    tracking.set_tag("3", "reason", "**bold** <script>alert(1)</script>")
    tracking.set_tag("3", "rollout", "rolled back from 2 (analysis-failed by analysis): [link](http://evil.example)")
    return environ


def test_the_champion_is_shown_first(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", environ)
    rows = page.tables[f"All versions of {MODEL}"]
    assert [row[0] for row in rows] == ["3", "2", "1"]
    assert rows[1][1].strip() == "champion"
    assert rows[2][4] == "nothing: the first version"
    assert next(node["text"] for node in page.nodes("h")) == "Version 2"
    assert page.details["Why"] == "the answers drifted: confidence fell"
    assert page.details["Signature"].startswith("none")
    assert page.tables["The gate's checks"][0][0] == "better on today's mix"
    assert {row[0] for row in page.tables["Accuracy by subject, with 95% intervals; the dashed line is guessing"]} == {
        "lists",
        "loops",
        "regex",
    }
    measures = page.tables["Calibration measures"]
    assert all(len(row) == 3 for row in measures), "with and without its letter prior"
    assert [row[0] for row in page.tables["Steps of its retraining"]] == ["collect data", "evaluate", "quality gate"]
    assert page.notices == []


def test_a_first_version_has_no_gate_and_says_so(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", environ, version="1")
    assert "The quality gate did not examine this version." in page.paragraphs
    assert any("Measured by a later retraining" in text for text in page.paragraphs)
    assert any("has no letter prior" in text for text in page.paragraphs)
    assert page.details["What it is"] == "tiny demonstration model"
    assert page.details["Accuracy on these"] == "69.0% (67.0% to 70.0%) of 4,000 questions"


def test_what_anybody_wrote_stays_text(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", environ, version="3")
    assert page.details["Why"] == "**bold** <script>alert(1)</script>"
    assert "[link](http://evil.example)" in page.details["Canary"]
    assert "evil" not in "".join(str(element.value) for element in page.app.markdown)


def test_two_compared_by_the_address(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", environ, version="2", against="1")
    assert "120 questions that both answered in one evaluation." in page.paragraphs
    assert sum(cells[0].endswith("right answer") for cells in page.tables[CHOICES]) == 1
    outcomes = {row[0]: int(row[1]) for row in page.tables["Who was right"]}
    assert sum(outcomes.values()) == 120
    assert outcomes["only version 2"] > outcomes["only version 1"]
    assert [node["text"] for node in page.nodes("h")][1].startswith(f"1 of {outcomes['only version 2']}: ")
    row = page.tables[CHOICES]
    assert [sum(cells[side].endswith("%") for cells in row) for side in (1, 2)] == [1, 1]
    page.app.selectbox(key="versions which 2 1").select("every").run()
    assert page.app.number_input[0].max == 24


def test_the_selection_is_in_the_address(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", environ)
    page.app.selectbox(key="versions choice").select("1").run()
    assert page.app.query_params["version"] in ("1", ["1"])
    page.app.selectbox(key="versions other").select("2").run()
    assert page.app.query_params["against"] in ("2", ["2"])
    assert "120 questions that both answered in one evaluation." in page.paragraphs


def test_versions_without_answers_say_so(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", environ, version="3", against="1")
    assert any("No evaluation of this version is stored" in text for _, text in page.notices)
    assert any("single answers are stored of no evaluation of version 3" in text for _, text in page.notices)


@pytest.mark.parametrize("query", [{"version": "99"}, {"version": "2", "against": "99"}])
def test_a_version_that_is_not_there(environ: dict[str, str], show_page: Show, query: dict[str, str]) -> None:
    page = show_page("versions", environ, **query)
    assert ("warning", "The registry has no version 99.") in page.notices


def test_an_address_of_nonsense_says_so(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", environ, version="x'", against="-1", before="9" * 40)
    assert [kind for kind, _ in page.notices] == ["warning"] * 3
    assert page.nodes("h") == [], "another version is not what was asked for"
    assert f"All versions of {MODEL}" in page.tables
    page = show_page("versions", environ, against="-1")
    assert [node["text"] for node in page.nodes("h")] == ["Version 2"]


def test_no_version_yet(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", {**environ, "MCQA_REGISTERED_MODEL": "nothing-yet"})
    assert page.paragraphs == ["No version of nothing-yet is registered yet."]


def test_no_registry_is_one_sentence(show_page: Show) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    [(kind, text)] = show_page("versions", away).notices
    assert (kind, text.startswith("the registry cannot be read now: the MLflow server")) == ("error", True)


def test_a_registry_that_says_nothing_does_not_hold_the_page(
    environ: dict[str, str], show_page: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "PATIENCE", 0.5)
    with silent() as server:
        page = show_page("versions", {**environ, "MLFLOW_TRACKING_URI": server.url})
        assert server.asked.is_set()
    assert page.notices == [
        ("warning", "the registry has not answered yet. The page goes on asking, and shows it as soon as it does.")
    ]


def test_a_database_that_is_away_leaves_the_rest(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", {**environ, "MCQA_DATABASE_URL": "sqlite:////no/such.db"})
    assert "the database does not answer now" in page.details["Caused by"]
    assert page.tables["The gate's checks"]


def test_in_vietnamese(environ: dict[str, str], show_page: Show) -> None:
    page = show_page("versions", environ, version="2", lang="vi")
    assert f"Mọi phiên bản của {MODEL}" in page.tables
    assert page.details["Chữ ký"].startswith("không có")


def test_it_is_read_in_a_browser(environ: dict[str, str], page_server: Any, page_at: Any) -> None:
    page = page_at(f"{page_server(environ)}/versions?version=2&against=1", width=390)
    page.get_by_role("heading", name="Each question").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("link", name="3", exact=True).first.click()
    page.get_by_role("heading", name="Version 3").wait_for()
    assert "version=3" in page.url


def test_it_is_there_by_itself_as_soon_as_the_registry_is(
    environ: dict[str, str], mlflow_url: str, page_server: Any, page_at: Any
) -> None:
    with relay() as registry:
        page = page_at(f"{page_server({**environ, 'MLFLOW_TRACKING_URI': registry.url})}/versions?version=2")
        page.get_by_text("the registry has not answered yet").wait_for()
        registry.forward(mlflow_url)
        page.get_by_role("heading", name="Version 2").wait_for()
        page.get_by_role("heading", name="Accuracy by subject").or_(
            page.get_by_text("Calibration measures")
        ).first.wait_for()
