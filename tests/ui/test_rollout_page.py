"""The page Rollout: three rollouts in a real database; the operator's actions with a real registry and sink."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from rollout_loop import Model, SinkServer
from rollout_story import three_rollouts
from shown_page import ShownPage
from sqlalchemy import update

from functions.database import engine, transaction
from functions.migrate import migrate
from functions.rollout import overrides
from functions.rollout.reasons import ReasonCode
from functions.rollout.state import Override
from functions.rollout.tables import RolloutStatus
from ui import actions, facts
from ui.language import catalogue

Show = Callable[..., ShownPage]
Environ = Mapping[str, str]
pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture(scope="module")
def model(mlflow_url: str, processes: None) -> Model:
    made = Model(mlflow_url, f"rollout-page-{os.getpid()}")
    made.create(4)
    made.alias("champion", "2")
    made.alias("challenger", "4")
    return made


@pytest.fixture
def environ(model: Model, tmp_path: Path, processes: None) -> Iterator[dict[str, str]]:
    url = f"sqlite:///{tmp_path / 'loop.db'}"
    migrate(engine(url))
    three_rollouts(engine(url), time.time(), model.name)
    sink = SinkServer()
    yield {
        "MCQA_DATABASE_URL": url,
        "MLFLOW_TRACKING_URI": model.url,
        "MCQA_REGISTERED_MODEL": model.name,
        "K_SINK": sink.url,
        "MCQA_UI_ACTIONS": "1",
    }
    sink.stop()


def press(page: ShownPage, key: str) -> None:
    page.app.button(key=key).click().run()
    assert not page.app.exception, page.app.exception


def override(environ: Environ) -> Override | None:
    with transaction(engine(environ["MCQA_DATABASE_URL"])) as connection:
        return overrides.read(connection, environ["MCQA_REGISTERED_MODEL"])


def test_where_the_rollout_stands_and_what_it_still_needs(environ: Environ, show_page: Show) -> None:
    page = show_page("rollout", environ)
    assert page.details["Champion"] == "version 2, 75% of the traffic"
    assert page.details["Challenger"] == "version 4, 25% of the traffic"
    assert page.details["Champion since"].endswith(": version 2 passed: all traffic to it (the analysis)")
    assert page.details["Steps"] == "10% → 25% (now) → 50% → 100%"
    guards = page.tables["Champion (version 2) against challenger (version 4) at 25%"]
    accuracy = next(row for row in guards if row[0] == "right answers, by labels")
    assert accuracy[6] == "not decided"
    assert accuracy[8].endswith("labelled answers")
    assert {row[8] for row in guards if row[6] == "within its margin"} == {"nothing"}


def test_its_history_and_the_rollouts_before(environ: Environ, show_page: Show) -> None:
    page = show_page("rollout", environ)
    assert [row[:2] for row in page.tables["The last rollouts"]] == [
        ["version 4 against 2", "under way"],
        ["version 3 against 2", "rolled back"],
        ["version 2 against 1", "promoted"],
    ]
    (shares,) = (rows for caption, rows in page.tables.items() if caption.startswith("Share of the traffic"))
    assert [row[1] for row in shares] == ["0%", "10%", "25%"]
    log = page.tables["Decisions, the newest first"]
    press(page, "log older")
    older = page.tables["Decisions, the newest first"]
    assert int(older[0][0]) == int(log[-1][0]) - 1


def test_one_decision_with_who_made_it(environ: Environ, show_page: Show) -> None:
    log = show_page("rollout", environ)
    rows = log.tables["Decisions, the newest first"]
    press(log, "log older")
    rows += log.tables["Decisions, the newest first"]
    aborted = next(row for row in rows if "Nguyễn" in row[4])
    page = show_page("rollout", environ, decision=aborted[0])
    assert "ann <b>Nguyễn</b>" in page.everything
    assert "/events?trace=" in page.everything
    missing = show_page("rollout", environ, decision="99999")
    assert any(kind == "warning" for kind, _ in missing.notices)
    strange = show_page("rollout", environ, decision="1'; drop")
    assert any(kind == "warning" and "names decision 1'; drop," in text for kind, text in strange.notices)
    assert strange.details["Champion"].startswith("version 2")


def test_an_action_asks_first_and_is_recorded_with_who_did_it(environ: Environ, show_page: Show) -> None:
    page = show_page("rollout", environ)
    press(page, "rollout hold button")
    assert any("Version 4 stays at 25%" in text for text in page.paragraphs)
    assert override(environ) is None
    press(page, "rollout hold cancel")
    assert override(environ) is None
    press(page, "rollout hold button")
    press(page, "rollout hold confirm")
    held = override(environ)
    assert held is not None
    assert (held.action, held.challenger) == ("hold", "4")
    assert held.by.endswith("(page)")
    assert [kind for kind, _ in page.notices].count("success") == 1
    newest = page.tables["Decisions, the newest first"][0]
    assert held.by in newest[4]
    press(page, "rollout resume button")
    press(page, "rollout resume confirm")
    assert override(environ) is None


def test_an_outcome_stays_for_a_while(environ: Environ, show_page: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of the page that shows it is drawn anew every few seconds."""
    page = show_page("rollout", environ)
    press(page, "rollout hold button")
    press(page, "rollout hold confirm")
    page.app.run()
    assert [kind for kind, _ in page.notices].count("success") == 1
    monkeypatch.setattr(actions, "OUTCOME_SECONDS", 0.0)
    page.app.run()
    assert [kind for kind, _ in page.notices].count("success") == 0


def test_an_outcome_is_shown_although_the_rollout_is_over(environ: Environ, show_page: Show) -> None:
    page = show_page("rollout", environ)
    press(page, "rollout abort button")
    press(page, "rollout abort confirm")
    with transaction(engine(environ["MCQA_DATABASE_URL"])) as connection:
        connection.execute(update(RolloutStatus).values(phase="idle"))
    facts.forget()
    page.app.run()
    assert not [each for each in page.app.button if each.key.startswith("rollout")]
    assert [kind for kind, _ in page.notices].count("success") == 1
    assert any("A rollout starts when a version gets the alias" in text for text in page.paragraphs)
    assert "/#/models/" in page.everything


def test_every_reason_is_in_the_catalogue_as_the_function_renders_it() -> None:
    for code in ReasonCode:
        if code is not ReasonCode.UNKNOWN:
            assert catalogue()[f"rollout.reason.{code}"]["en"] == code.template


def test_what_moved_on_meanwhile_is_not_acted_on(environ: Environ, show_page: Show) -> None:
    page = show_page("rollout", environ)
    press(page, "rollout promote button")
    with transaction(engine(environ["MCQA_DATABASE_URL"])) as connection:
        seen = Override("abort", "4", "somebody else", time.time())
        overrides.write(connection, environ["MCQA_REGISTERED_MODEL"], seen)
    press(page, "rollout promote confirm")
    assert [kind for kind, _ in page.notices].count("error") == 1
    kept = override(environ)
    assert kept is not None
    assert (kept.action, kept.by) == ("abort", "somebody else")


def test_actions_are_off_unless_enabled(environ: Environ, show_page: Show) -> None:
    page = show_page("rollout", {**environ, "MCQA_UI_ACTIONS": "0"})
    assert not [each for each in page.app.button if each.key.startswith("rollout")]
    assert any(kind == "info" and "are off" in text for kind, text in page.notices)


def test_before_the_first_rollout(environ: Environ, show_page: Show, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    migrate(engine(url))
    page = show_page("rollout", {**environ, "MCQA_DATABASE_URL": url})
    assert {kind for kind, _ in page.notices} == {"info"}


def test_without_a_database(environ: Environ, show_page: Show) -> None:
    page = show_page("rollout", {**environ, "MCQA_DATABASE_URL": "sqlite:////proc/nowhere/loop.db"})
    assert {kind for kind, _ in page.notices} >= {"error"}
