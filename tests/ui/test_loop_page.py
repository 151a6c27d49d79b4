"""The page Loop: with a real registry and database, but without the loop's processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from drifted_loop import DriftedLoop
from rollout_story import three_rollouts
from shown_page import ShownPage
from sqlalchemy import insert

from functions.dead_letters.tables import DeadLetterRecord

Show = Callable[..., ShownPage]
pytestmark = pytest.mark.usefixtures("processes")
PARTS, WANTS, COUNTS = "What each part waits for", "What wants you", "Counts of the last hour"


@pytest.fixture(scope="module")
def loop(mlflow_url: str, processes: None, tmp_path_factory: pytest.TempPathFactory) -> DriftedLoop:
    made = DriftedLoop(f"sqlite:///{tmp_path_factory.mktemp('loop-page') / 'loop.db'}", mlflow_url, hours=1)
    made.answers({"lists": 1.0}, 0.0, 120, labels=0.5)
    three_rollouts(made.database, time.time(), made.model)
    with made.database.begin() as connection:
        connection.execute(
            insert(DeadLetterRecord).values(
                key="ab" * 32, source="/s", id="1", type="t", destination="collect", code=400, reason="<b>**x**</b>",
                attributes={}, data=b"", state="open", times=1, first_at=time.time(), last_at=time.time(),
            )
        )  # fmt: skip
    return made


def test_what_each_part_waits_for(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("loop", loop.environ)
    waits = {row[0]: row[2] for row in page.tables[PARTS]}
    assert waits["Drift"].startswith("120 of 200 answers until drift can say something") or "of 200" in waits["Drift"]
    assert waits["Rollout"].startswith("canary of version 4 at 25")
    states = {row[0]: row[1] for row in page.tables[PARTS]}
    assert states["Database"] == states["Registry"] == "ready"
    assert states["Platform"] == "down"
    assert waits["Database"] == waits["Notify"] == "—", "what a part does is nothing that it waits for"


def test_what_wants_a_person_comes_first_with_what_helps(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("loop", loop.environ)
    wants = page.tables[WANTS]
    assert wants[0][0] == "Fault"
    assert any("dead letter" in row[1] and "mcqa dead-letters" in row[3] for row in wants)
    assert "/events" in page.everything


def test_the_counts_of_the_last_hour(loop: DriftedLoop, show_page: Show) -> None:
    counts = {(row[0], row[2]): row[3] for row in show_page("loop", loop.environ).tables[COUNTS]}
    assert 110 < int(counts["Model", "answers"]) <= 120
    assert int(counts["People", "feedback"]) > 30
    assert int(counts["Rollout", "decisions"]) >= 3


def test_versions_with_their_share(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("loop", loop.environ)
    assert page.details["Champion"] == "version 1", "the log's champion is another: nothing is known of this one's time"
    assert page.details["Last change"] == "none yet"


def test_since_when_the_champion_serves_and_by_which_decision(
    loop: DriftedLoop, show_page: Show, mlflow_url: str
) -> None:
    environ = {**loop.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # the champion is the rollout's then
    page = show_page("loop", environ)
    shown = page.details["Champion"]
    assert shown.startswith("version 2, as the rollout saw it")
    assert shown.endswith("(the analysis)")
    assert "/rollout?decision=" in page.everything


def test_without_a_database_it_says_so_and_shows_the_rest(loop: DriftedLoop, show_page: Show, tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path / 'none' / 'loop.db'}"
    page = show_page("loop", {**loop.environ, "MCQA_DATABASE_URL": missing})
    states = {row[0]: row[1] for row in page.tables[PARTS]}
    assert states["Registry"] == "ready"
    assert states["Database"] == "down"
    assert any(kind == "error" for kind, _ in page.notices)
    assert COUNTS not in page.tables


def test_in_vietnamese(loop: DriftedLoop, show_page: Show) -> None:
    page = show_page("loop", loop.environ, lang="vi")
    assert "Việc cần bạn" in page.tables
