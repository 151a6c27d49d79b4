"""Recurring runs through the real client: made, listed, switched off and on, deleted; and they start runs."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import kfp_cases as cases
import pytest
from kfp import compiler
from kfp_server import HEADERS, KfpServer, make_client
from kfp_server_api.exceptions import ApiException

from local.pipelines.database import FILE, PipelineDatabase
from local.pipelines.experiments import Experiments
from local.pipelines.pipeline_spec import parse_yaml
from local.pipelines.pipelines import Pipelines
from local.pipelines.recurring_runs import RecurringRuns
from local.pipelines.runs import Runs


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recurring") / "chain.yaml"
    compiler.Compiler().compile(cases.chain, str(path))
    return str(path)


@pytest.fixture
def experiment(kfp_client: Any, request: pytest.FixtureRequest, processes: None) -> str:
    return str(kfp_client.create_experiment(request.node.name).experiment_id)


def runs(url: str, recurring: str) -> list[dict[str, Any]]:
    predicate = f'{{"predicates":[{{"operation":"EQUALS","key":"recurring_run_id","string_value":"{recurring}"}}]}}'
    query = {"filter": predicate, "sort_by": "scheduled_at asc", "page_size": "100"}
    return list(httpx2.get(f"{url}/apis/v2beta1/runs", headers=HEADERS, params=query).json().get("runs", []))


def until(condition: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return value


@pytest.mark.usefixtures("processes")
def test_it_starts_runs_until_it_is_disabled(
    kfp_client: Any, server: KfpServer, package: str, experiment: str, marks: Path
) -> None:
    recurring = kfp_client.create_recurring_run(
        experiment, "each second", interval_second=1, pipeline_package_path=package, params={"marks": str(marks)},
        no_catchup=True, max_concurrency=1, service_account="pipeline-runner",
    )  # fmt: skip
    key = recurring.recurring_run_id
    assert (recurring.status, recurring.mode, recurring.max_concurrency, recurring.no_catchup) == (
        "ENABLED",
        "ENABLE",
        "1",
        True,
    )
    assert recurring.trigger.periodic_schedule.interval_second == "1"
    until(lambda: [run for run in runs(server.url, key) if run["state"] == "SUCCEEDED"])
    kfp_client.disable_recurring_run(key)
    assert kfp_client.get_recurring_run(key).status == "DISABLED"
    until(lambda: all(run["state"] == "SUCCEEDED" for run in runs(server.url, key)))
    started = runs(server.url, key)
    assert marks.read_text().split()[:3] == ["first", "nap", "last"]
    assert started[0]["service_account"] == "pipeline-runner"
    assert started[0]["scheduled_at"] <= started[0]["created_at"]
    times = [run["scheduled_at"] for run in started]
    assert len(set(times)) == len(times)
    time.sleep(1.5)
    assert runs(server.url, key) == started
    kfp_client.enable_recurring_run(key)
    until(lambda: len(runs(server.url, key)) > len(started))
    kfp_client.delete_recurring_run(key)
    with pytest.raises(ApiException) as refused:
        kfp_client.get_recurring_run(key)
    assert refused.value.status == 404
    assert len(runs(server.url, key)) > len(started), "its runs stay"


def test_they_are_listed_by_name_and_experiment(kfp_client: Any, package: str, experiment: str) -> None:
    weekly = {"cron_expression": "0 0 3 ? * MON", "pipeline_package_path": package, "params": {"marks": "/dev/null"}}
    for name in ("a", "b"):
        kfp_client.create_recurring_run(experiment, name, enabled=False, **weekly)
    listed = kfp_client.list_recurring_runs(experiment_id=experiment, sort_by="display_name desc").recurring_runs
    assert [(entry.display_name, entry.status) for entry in listed] == [("b", "DISABLED"), ("a", "DISABLED")]
    assert listed[0].trigger.cron_schedule.cron == "0 0 3 ? * MON"
    named = '{"predicates":[{"operation":"EQUALS","key":"display_name","stringValue":"a"}]}'
    filtered = kfp_client.list_recurring_runs(experiment_id=experiment, filter=named).recurring_runs
    assert [entry.display_name for entry in filtered] == ["a"]
    for entry in listed:
        kfp_client.delete_recurring_run(entry.recurring_run_id)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": None}, "mode must be"),
        ({"max_concurrency": 11}, "max_concurrency must be"),
        ({"trigger": {"cron_schedule": {"cron": "x"}}}, "six fields"),
        ({"display_name": ""}, "display_name"),
        ({"experiment_id": "none"}, "experiment"),
        ({"runtime_config": {"parameters": {"nothing": 1}}}, "not an input"),
        ({"runtime_config": {"parameters": {"marks": "[[ScheduledTime]]"}}}, "need a cluster"),
    ],
)
def test_what_is_refused(server: KfpServer, package: str, change: dict[str, Any], message: str) -> None:
    body = {
        "display_name": "r", "mode": "ENABLE", "max_concurrency": "1",
        "pipeline_spec": parse_yaml(Path(package).read_text()),
        "runtime_config": {"parameters": {"marks": "/dev/null"}},
        "trigger": {"periodic_schedule": {"interval_second": "3600"}},
    }  # fmt: skip
    answer = httpx2.post(f"{server.url}/apis/v2beta1/recurringruns", headers=HEADERS, json={**body, **change})
    assert answer.status_code in (400, 404, 501), answer.text
    assert message in answer.json()["message"]


@pytest.fixture
def recurring(tmp_path: Path) -> Iterator[tuple[RecurringRuns, Runs, Pipelines]]:
    """Without a server: nothing is executed, so the time is the test's."""
    database = PipelineDatabase(tmp_path / FILE)
    Experiments(database)  # makes the default one
    runs = Runs(database, tmp_path)
    yield RecurringRuns(runs), runs, Pipelines(database)
    database.close()


def test_each_time_starts_one_run_and_the_newest_version(
    recurring: tuple[RecurringRuns, Runs, Pipelines], package: str
) -> None:
    recurring_runs, all_runs, pipelines = recurring
    spec = parse_yaml(Path(package).read_text())
    pipeline = pipelines.create({"name": "chain"}, spec)["pipeline_id"]
    start = datetime.now(UTC)
    key = recurring_runs.create({
        "display_name": "minutely", "mode": "ENABLE", "max_concurrency": 3,
        "pipeline_version_reference": {"pipeline_id": pipeline},
        "runtime_config": {"parameters": {"marks": "/dev/null"}},
        "trigger": {"periodic_schedule": {"interval_second": "60"}},
    })["recurring_run_id"]  # fmt: skip
    assert recurring_runs.start_due(start) == 0
    later = start + timedelta(seconds=130)
    assert [recurring_runs.start_due(later) for _ in range(3)] == [1, 1, 0], "it catches up, then it is done"
    pipelines.create_version(pipeline, {"name": "second"}, spec)
    much_later = start + timedelta(seconds=600)
    assert [recurring_runs.start_due(much_later), recurring_runs.start_due(much_later)] == [1, 0], "three at a time"
    started = all_runs.list({})["runs"]
    versions = [run["pipeline_version_reference"]["pipeline_version_id"] for run in started]
    assert versions[0] == versions[1] != versions[2]
    times = [datetime.fromisoformat(run["scheduled_at"]) for run in started]
    assert [round((time - times[0]).total_seconds()) for time in times] == [0, 60, 120]
    assert {run["recurring_run_id"] for run in started} == {key}
    pipelines.delete(pipeline, cascade=True)
    for run in started:
        all_runs.terminate(run["run_id"])
    assert recurring_runs.start_due(much_later) == 0
    assert "no pipeline version" in recurring_runs.get(key)["error"]["message"]


@pytest.mark.usefixtures("processes")
def test_a_server_that_is_killed_starts_no_time_twice(tmp_path: Path, package: str) -> None:
    server = KfpServer(tmp_path / "pipelines")
    server.start()
    try:
        client = make_client(server.url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recurring = client.create_recurring_run(
                client.create_experiment("kills").experiment_id, "each second", interval_second=1, max_concurrency=10,
                pipeline_package_path=package, params={"marks": str(tmp_path / "marks"), "seconds": 3600.0},
            )  # fmt: skip
        key = recurring.recurring_run_id
        for number in (1, 2, 3):
            until(lambda wanted=number: len(runs(server.url, key)) >= wanted)
            server.kill()
            server.start()
        httpx2.post(f"{server.url}/apis/v2beta1/recurringruns/{key}:disable", headers=HEADERS)
        times = [datetime.fromisoformat(run["scheduled_at"]) for run in runs(server.url, key)]
        gaps = {round((after - before).total_seconds(), 3) for before, after in itertools.pairwise(times)}
        assert gaps == {1.0}, "none twice, none left out"
    finally:
        server.stop()
