"""The page Pipelines: against the embedded pipelines server, and against Kubeflow's own shape of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from kfp_server import ENVIRON, kfp_server
from shown_page import ShownPage
from sqlalchemy import insert
from stub_pipeline import upload

from common.kubeflow import KubeflowClient
from functions.database import engine, transaction
from functions.migrate import migrate
from functions.retrain.tables import RetrainRun

HOSTILE = "**bold** <img src=x onerror=alert(1)> [link](http://evil.example)"
Show = Callable[..., ShownPage]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[dict[str, str]]:
    """A loop's environment with three runs: two of the loop, of which one failed; a stranger's."""
    folder = tmp_path_factory.mktemp("pipelines-page")
    database = f"sqlite:///{folder / 'loop.db'}"
    migrate(engine(database))
    with kfp_server(folder / "kfp") as kfp:
        upload(kfp.url, folder)
        client = KubeflowClient({"KFP_ENDPOINT": kfp.url, **ENVIRON})
        arguments = {
            "run_key": "key-1", "model_name": "m", "champion": "1", "since": 0.0, "until": 1.0, "reason": "test",
            "traceparent": "", "drift_event": "", "marks": str(folder / "marks"),
        }  # fmt: skip
        ids = [
            client.start_run(name, HOSTILE, client.newest_version(), {**arguments, **more})
            for name, more in (("ours", {}), (HOSTILE, {"fails": 9, "marks": str(folder / "others")}), ("stranger", {}))
        ]
        deadline = time.monotonic() + 60
        while not all("finished_at" in (client.run(run_id) or {}) for run_id in ids):
            assert time.monotonic() < deadline, kfp.log.read_text()
            time.sleep(0.2)
        with transaction(engine(database)) as connection:
            for place, run_id in enumerate(ids[:2]):
                connection.execute(insert(RetrainRun).values(**request(f"key-{place}", run_id, place)))
            waits = {**request("key-2", "", 0), "run_id": None, "state": "waiting", "version": None, "attempt": 0}
            connection.execute(insert(RetrainRun).values(**waits))
        yield {"KFP_ENDPOINT": kfp.url, "MCQA_DATABASE_URL": database, "ids": " ".join(ids), **ENVIRON}


def request(key: str, run_id: str, place: int) -> dict[str, Any]:
    return {
        "key": key, "model": "coding-mcqa", "champion": "1", "drift_source": "s", "drift_id": f"e{place}", "since": 0.0,
        "reason": HOSTILE, "traceparent": "", "state": "failed" if place else "succeeded", "attempt": 1 + place,
        "reason_code": "drift-detected", "initiated_by": "drift", "parameters": {}, "run_id": run_id,
        "version": None if place else "2", "error": "", "created_at": time.time(), "updated_at": time.time(),
        "announced": 4,
    }  # fmt: skip


def test_runs_with_what_they_were_for_and_what_came_of_them(server: dict[str, str], show_page: Show) -> None:
    page = show_page("pipelines", server)
    rows = page.tables["Runs, the newest first"]
    assert [row[0] for row in rows] == ["stranger", HOSTILE, "ours"]
    stranger, failed, ours = rows
    assert (stranger[1], stranger[4], stranger[5]) == ("succeeded", "not started by the loop", "no version")
    assert (failed[1], failed[4]) == ("failed", "drift, attempt 2")
    assert "not this time" in failed[5] or "work" in failed[5]
    assert (ours[1], ours[4], ours[5]) == ("succeeded", "drift", "version 2")
    assert len(page.tables["Versions of the pipeline"]) >= 1
    ((_, state, by, why, became),) = page.tables["Requests without a run"]
    assert (state, by, why, became) == ("waiting", "drift", HOSTILE, "—")


def test_one_run_with_its_steps_and_parameters(server: dict[str, str], show_page: Show) -> None:
    ours, failed, _ = server["ids"].split()
    page = show_page("pipelines", server, run=ours)
    steps_shown = page.tables["Steps in the order in which they started"]
    assert [(row[0].strip(), row[1]) for row in steps_shown] == [("work", "succeeded")]
    assert ["champion", "1"] in page.tables["Parameters that were given"]
    assert page.details["Result"] == "version 2"
    assert page.details["Its own page"].startswith("Open on the pipeline server")
    page = show_page("pipelines", server, run=failed)
    assert page.details["State"] == "failed"
    assert page.details["Error"]


def test_what_is_not_there_or_down_is_a_sentence(server: dict[str, str], show_page: Show) -> None:
    page = show_page("pipelines", server, run="nothing <b>")
    assert page.notices == [("warning", "The pipeline server has no run nothing <b>: it may have been deleted.")]
    page = show_page("pipelines", {**server, "KFP_ENDPOINT": "http://127.0.0.1:9"})
    ((kind, sentence),) = page.notices
    assert (kind, sentence.startswith("the pipeline server cannot be read now: ")) == ("error", True)


def test_without_the_database_the_runs_are_still_shown(server: dict[str, str], show_page: Show, tmp_path: Path) -> None:
    page = show_page("pipelines", {**server, "MCQA_DATABASE_URL": f"sqlite:///{tmp_path / 'none' / 'loop.db'}"})
    assert [kind for kind, _ in page.notices] == ["warning"]
    assert {row[4] for row in page.tables["Runs, the newest first"]} == {"not started by the loop"}


def test_a_server_that_lists_no_artifacts(
    server: dict[str, str], show_page: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubeflow's own: its API has no such call."""
    asked: list[str] = []

    def missing(client: KubeflowClient, method: str, path: str, **options: Any) -> httpx2.Response:
        asked.append(path)
        return httpx2.Response(404) if path.endswith("/artifacts") else real(client, method, path, **options)

    real = KubeflowClient._request
    monkeypatch.setattr(KubeflowClient, "_request", missing)
    page = show_page("pipelines", server, run=server["ids"].split()[0])
    assert any(path.endswith("/artifacts") for path in asked)
    assert "This pipeline server lists artifacts on its own page of the run only." in page.paragraphs


def test_where_no_pipelines_run_is_no_problem(show_page: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/compose.md: the page is there, and no pipeline server."""
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    page = show_page("pipelines", run="x")
    assert page.notices == [("info", "There is no pipeline server here: KFP_ENDPOINT is not set.")]
    assert not page.tables
