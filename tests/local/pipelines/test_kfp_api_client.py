"""The real kfp.Client against the platform: everything a user or the loop does with pipelines and runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import kfp_cases as cases
import pytest
from kfp import compiler
from kfp_server import HEADERS, ROOT, KfpServer
from kfp_server_api.exceptions import ApiException

from local.pipelines import processes


def run(client: Any, pipeline: Any, **arguments: Any) -> Any:
    """The finished run."""
    started = client.create_run_from_pipeline_func(pipeline, arguments=arguments)
    return client.wait_for_run_completion(started.run_id, 60, 0.05)


def states(found: Any) -> dict[str, str]:
    return {task.display_name: task.state for task in found.run_details.task_details}


def lines(marks: Path) -> list[str]:
    return marks.read_text().split("\n")[:-1] if marks.exists() else []


@pytest.fixture
def package(tmp_path: Path) -> str:
    path = tmp_path / "gated.yaml"
    compiler.Compiler().compile(cases.gated, str(path))
    return str(path)


def predicate(key: str, value: str, operation: str = "EQUALS") -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, "stringValue": value}]})


@pytest.mark.usefixtures("processes")
def test_experiments(kfp_client: Any) -> None:
    experiment = kfp_client.create_experiment("drift-study", description="why")
    assert kfp_client.create_experiment("drift-study").experiment_id == experiment.experiment_id
    assert kfp_client.get_experiment(experiment_name="drift-study").description == "why"
    assert kfp_client.get_experiment(experiment_id=experiment.experiment_id).storage_state == "AVAILABLE"
    names = [entry.display_name for entry in kfp_client.list_experiments(page_size=100).experiments]
    assert {"Default", "drift-study"} <= set(names)
    kfp_client.archive_experiment(experiment.experiment_id)
    assert kfp_client.get_experiment(experiment.experiment_id).storage_state == "ARCHIVED"
    kfp_client.delete_experiment(experiment.experiment_id)
    with pytest.raises(ApiException) as refused:
        kfp_client.get_experiment(experiment.experiment_id)
    assert refused.value.status == 404


def test_pipelines_and_versions(kfp_client: Any, package: str) -> None:
    pipeline = kfp_client.upload_pipeline(package, pipeline_name="uploaded", description="first")
    assert kfp_client.get_pipeline_id("uploaded") == pipeline.pipeline_id
    assert kfp_client.get_pipeline(pipeline.pipeline_id).description == "first"
    with pytest.raises(ApiException) as refused:
        kfp_client.upload_pipeline(package, pipeline_name="uploaded")
    assert refused.value.status == 409
    assert json.loads(refused.value.body)["code"] == 6

    second = kfp_client.upload_pipeline_version(package, "second", pipeline_name="uploaded")
    with pytest.raises(ApiException) as refused:
        kfp_client.upload_pipeline_version(package, "second", pipeline_id=pipeline.pipeline_id)
    assert refused.value.status == 409
    versions = kfp_client.list_pipeline_versions(pipeline.pipeline_id, sort_by="created_at desc")
    assert [version.display_name for version in versions.pipeline_versions] == ["second", "uploaded"]
    got = kfp_client.get_pipeline_version(pipeline.pipeline_id, second.pipeline_version_id)
    assert got.pipeline_spec["pipelineInfo"]["name"] == "gated"

    kfp_client.delete_pipeline_version(pipeline.pipeline_id, second.pipeline_version_id)
    versions = kfp_client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions
    assert [version.display_name for version in versions] == ["uploaded"]
    kfp_client.delete_pipeline_version(pipeline.pipeline_id, versions[0].pipeline_version_id)
    kfp_client.delete_pipeline(pipeline.pipeline_id)
    assert kfp_client.get_pipeline_id("uploaded") is None


@pytest.mark.usefixtures("processes")
def test_run_of_a_version(kfp_client: Any, server: KfpServer, package: str, marks: Path) -> None:
    pipeline = kfp_client.upload_pipeline(package, pipeline_name="to-run")
    version = kfp_client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    experiment = kfp_client.create_experiment("versions")
    started = kfp_client.run_pipeline(
        experiment.experiment_id, "by version", pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id, params={"x": 1, "marks": str(marks)},
    )  # fmt: skip
    done = kfp_client.wait_for_run_completion(started.run_id, 60, 0.05)
    assert (done.state, done.error, lines(marks)) == ("SUCCEEDED", None, ["passed"])
    assert [item.state for item in done.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert done.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert done.runtime_config.parameters == {"x": 1.0, "marks": str(marks)}
    assert done.created_at <= done.finished_at

    # Without a version: the newest one; as the retrain function starts its runs.
    body = {
        "display_name": "newest", "description": "key",
        "pipeline_version_reference": {"pipeline_id": pipeline.pipeline_id},
        "runtime_config": {"parameters": {"x": 0.1, "marks": str(marks)}},
    }  # fmt: skip
    answer = httpx2.post(f"{server.url}/apis/v2beta1/runs", headers=HEADERS, json=body)
    assert answer.status_code == 200, answer.text
    newest = kfp_client.wait_for_run_completion(answer.json()["run_id"], 60, 0.05)
    assert newest.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert (newest.state, newest.description, lines(marks)) == ("SUCCEEDED", "key", ["passed", "refused"])

    listed = kfp_client.list_runs(filter=predicate("display_name", "by version")).runs
    assert [run.run_id for run in listed] == [started.run_id]
    assert kfp_client.list_runs(experiment_id=experiment.experiment_id).total_size == 1
    kfp_client.archive_run(started.run_id)
    assert kfp_client.get_run(started.run_id).storage_state == "ARCHIVED"
    kfp_client.unarchive_run(started.run_id)
    kfp_client.delete_run(started.run_id)
    with pytest.raises(ApiException) as refused:
        kfp_client.get_run(started.run_id)
    assert refused.value.status == 404


def test_a_gate_runs_one_branch_and_marks_the_other_skipped(kfp_client: Any, marks: Path) -> None:
    done = run(kfp_client, cases.gated, x=0.9, marks=str(marks))
    assert done.state == "SUCCEEDED"
    assert lines(marks) == ["passed"]
    by_task = states(done)
    assert (by_task["passed"], by_task["note"], by_task["refused"], by_task["note-2"]) == (
        "SUCCEEDED", "SUCCEEDED", "SKIPPED", "SKIPPED",
    )  # fmt: skip
    by_name = {task.display_name: task for task in done.run_details.task_details}
    assert by_name["note"].parent_task_id == by_name["passed"].task_id
    assert by_name["decide"].start_time < by_name["decide"].end_time <= by_name["note"].start_time


def test_conditions_on_named_outputs_are_evaluated(kfp_client: Any, marks: Path) -> None:
    """kfp.local itself skips them, and the run succeeds."""
    done = run(kfp_client, cases.named, x=0.9, marks=str(marks))
    assert (done.state, sorted(lines(marks))) == ("SUCCEEDED", ["nested", "passed"])
    done = run(kfp_client, cases.named, x=0.1, marks=str(marks))
    assert (done.state, sorted(lines(marks))) == ("SUCCEEDED", ["nested", "passed"])
    assert {state for name, state in states(done).items() if name != "verdict"} == {"SKIPPED"}


def test_a_failure_is_not_hidden_by_an_exit_handler(kfp_client: Any, marks: Path) -> None:
    done = run(kfp_client, cases.handled, marks=str(marks), tries=f"{marks}.tries")
    assert done.state == "FAILED"
    assert done.error.message.startswith("task 'fail-until': the step failed: ")
    assert "ValueError: not yet: 1 of 99" in done.error.message
    assert lines(marks)[-1] == "goodbye FAILED"
    assert "after" not in lines(marks)
    by_task = states(done)
    assert (by_task["fail-until"], by_task["note"], by_task["guarded"], by_task["say-goodbye"]) == (
        "FAILED", "SKIPPED", "FAILED", "SUCCEEDED",
    )  # fmt: skip


def test_retries_of_a_task(kfp_client: Any, tmp_path: Path) -> None:
    done = run(kfp_client, cases.flaky, marks=str(tmp_path / "enough"), times=3)
    assert (done.state, len(lines(tmp_path / "enough"))) == ("SUCCEEDED", 3)
    history = [item.state for item in done.run_details.task_details[0].state_history]
    assert history == ["PENDING", "RUNNING", "FAILED", "RUNNING", "FAILED", "RUNNING", "SUCCEEDED"]
    done = run(kfp_client, cases.flaky, marks=str(tmp_path / "few"), times=4)
    assert (done.state, len(lines(tmp_path / "few"))) == ("FAILED", 3)


@pytest.mark.usefixtures("processes")
def test_a_failed_run_is_retried_where_it_failed(kfp_client: Any, server: KfpServer, marks: Path) -> None:
    done = run(kfp_client, cases.handled, marks=str(marks), tries=f"{marks}.tries", times=2)
    assert done.state == "FAILED"
    before = lines(marks)
    assert httpx2.post(f"{server.url}/apis/v2beta1/runs/{done.run_id}:retry", headers=HEADERS).status_code == 200
    done = kfp_client.wait_for_run_completion(done.run_id, 60, 0.05)
    assert (done.state, done.error) == ("SUCCEEDED", None)
    assert before.count("beside") == lines(marks).count("beside") == 1
    assert len(lines(Path(f"{marks}.tries"))) == 2
    assert lines(marks).count("after") == 1


def test_loops(kfp_client: Any, marks: Path) -> None:
    done = run(kfp_client, cases.loop, marks=str(marks))
    assert (done.state, sorted(lines(marks))) == ("SUCCEEDED", ["a", "b", "c"])
    assert {f"for-loop-1-iteration-{i}" for i in range(3)} <= states(done).keys()
    empty = run(kfp_client, cases.loop, marks=str(marks), items=[])
    assert (empty.state, len(lines(marks))) == ("SUCCEEDED", 3)


def test_pipelines_in_pipelines(kfp_client: Any, marks: Path) -> None:
    """Tasks of one name in two places, dsl.OneOf, and what a loop collects."""
    done = run(kfp_client, cases.nested, marks=str(marks))
    assert done.state == "SUCCEEDED", done.error
    expected = [f"high-low-{item}" for item in (1, 2, 3)]
    assert sorted(lines(marks)) == sorted(["high", "low", *expected, "+".join(expected)])
    tasks = [(task.display_name, task.state) for task in done.run_details.task_details]
    assert tasks.count(("decide", "SUCCEEDED")) == 2
    assert [state for _, state in tasks].count("SKIPPED") == 4


@pytest.mark.usefixtures("processes")
def test_artifacts_and_logs(kfp_client: Any, server: KfpServer, marks: Path) -> None:
    done = run(kfp_client, cases.reports, marks=str(marks))
    assert (done.state, lines(marks)) == ("SUCCEEDED", ["1,2,3 1.0"])
    base = f"{server.url}/apis/v2beta1/runs/{done.run_id}"
    artifacts = {
        artifact["name"]: artifact for artifact in httpx2.get(f"{base}/artifacts", headers=HEADERS).json()["artifacts"]
    }
    assert artifacts["metrics"]["metadata"] == {"accuracy": 0.75}
    page = httpx2.get(server.url + artifacts["page"]["url"], headers=HEADERS)
    assert (page.text, page.headers["content-type"]) == ("<h1>Report</h1>", "text/html; charset=utf-8")
    assert page.headers["content-security-policy"].startswith("sandbox;")
    assert (
        httpx2.get(server.url + artifacts["text"]["url"], headers=HEADERS)
        .headers["content-type"]
        .startswith("text/markdown")
    )
    shown = httpx2.get(f"{server.url}/runs/{done.run_id}", headers=HEADERS).text
    assert "write-reports" in shown
    assert artifacts["page"]["url"] in shown
    assert done.display_name in httpx2.get(server.url, headers=HEADERS).text

    noted = run(kfp_client, cases.chain, marks=str(marks))
    task = next(task for task in noted.run_details.task_details if task.display_name == "note")
    log = httpx2.get(f"{server.url}/apis/v2beta1/runs/{noted.run_id}/nodes/{task.task_id}/log", headers=HEADERS)
    assert "noted first" in log.text


def test_placeholders_and_the_environment(kfp_client: Any, server: KfpServer) -> None:
    done = run(kfp_client, cases.facts)
    assert done.state == "SUCCEEDED"
    root = server.folder / "runs" / done.run_id / "root"
    output = json.loads((root / "facts" / "tell" / "executor_output.json").read_text())
    assert output["parameterValues"]["Output"] == f"{done.run_id} {done.run_id} hello None"


def test_what_a_step_leaves_behind_ends_with_its_run(kfp_client: Any, server: KfpServer, marks: Path) -> None:
    done = run(kfp_client, cases.leaving, marks=str(marks))
    assert done.state == "SUCCEEDED"
    deadline = time.monotonic() + 20
    while processes.find_all(processes.mark(server.folder, done.run_id)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_packages_are_not_installed_into_the_servers_environment(kfp_client: Any) -> None:
    done = run(kfp_client, cases.asking)
    assert done.state == "FAILED"
    assert "No matching distribution found for there-is-no-such-package==1.0" in done.error.message


def test_pages_of_a_list(kfp_client: Any, package: str) -> None:
    for index in range(5):
        kfp_client.upload_pipeline(package, pipeline_name=f"paged-{index}")
    asked = {"page_size": 2, "filter": predicate("display_name", "paged-", "IS_SUBSTRING")}
    for order, wanted in (
        ("display_name desc", [4, 3, 2, 1, 0]),
        ("created_at", [0, 1, 2, 3, 4]),
        ("", [0, 1, 2, 3, 4]),
    ):
        names, token, pages = [], "", 0
        while pages == 0 or token:
            page = kfp_client.list_pipelines(page_token=token, sort_by=order, **asked)
            names += [entry.display_name for entry in page.pipelines]
            token, pages = page.next_page_token, pages + 1
            assert page.total_size == 5
        assert (names, pages) == ([f"paged-{index}" for index in wanted], 3)


@pytest.mark.usefixtures("processes")
def test_the_server_does_without_the_sdk() -> None:
    code = (
        "import sys, local.pipelines.__main__, local.pipelines.pipeline_spec as s; s._messages(); "
        "print('kfp' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
