"""What Kubeflow's own UI asks for, over real HTTP on the real server: v1beta1, metadata, files and logs of a run."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import httpx2
import kfp_cases as cases
import pytest
from grpc_web_client import GrpcWebError, call, send
from kfp_server import HEADERS, KfpServer

from benchmarks import kubeflow_ui_pipeline

SANDBOXED = "sandbox; default-src 'none'"


def get(server: KfpServer, path: str, **query: Any) -> httpx2.Response:
    return httpx2.get(f"{server.url}{path}", params=query or None, headers=HEADERS, timeout=30)


def ok(server: KfpServer, path: str, **query: Any) -> Any:
    response = get(server, path, **query)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture(scope="module")
def checked(server: KfpServer, kfp_client: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The ids of a pipeline, its version and its finished run, with every kind of artifact in it."""
    package = kubeflow_ui_pipeline.write(tmp_path_factory.mktemp("package") / "check.yaml")
    pipeline = kfp_client.upload_pipeline(str(package), "Looked at in Kubeflow's UI")
    version = kfp_client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    experiment = kfp_client.create_experiment("looking")
    run = kfp_client.run_pipeline(
        experiment.experiment_id, "Looked At", pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id, params={"share": 0.75},
    )  # fmt: skip
    assert kfp_client.wait_for_run_completion(run.run_id, 60, 0.05).state == "SUCCEEDED"
    return {
        "pipeline": pipeline.pipeline_id, "version": version.pipeline_version_id, "run": run.run_id,
        "experiment": experiment.experiment_id,
    }  # fmt: skip


@pytest.fixture(scope="module")
def executions(server: KfpServer, checked: dict[str, str]) -> list[Any]:
    context = call(
        server.url, "GetContextByTypeAndName", type_name="system.PipelineRun", context_name=checked["run"]
    ).context
    return list(call(server.url, "GetExecutionsByContext", context_id=context.id).executions)


@pytest.fixture(scope="module")
def artifacts(server: KfpServer, executions: list[Any]) -> dict[str, Any]:
    """The artifacts that the run's steps put out, by name."""
    events = call(server.url, "GetEventsByExecutionIDs", execution_ids=[entry.id for entry in executions]).events
    names = {event.artifact_id: event.path.steps[0].key for event in events if event.type == 4}
    found = call(server.url, "GetArtifactsByID", artifact_ids=list(names)).artifacts
    return {names[entry.id]: entry for entry in found}


def custom(entry: Any, name: str) -> Any:
    value = entry.custom_properties[name]
    return getattr(value, value.WhichOneof("value"))


@pytest.mark.usefixtures("processes")
def test_healthz_names_the_release_that_the_ui_shows(server: KfpServer) -> None:
    health = ok(server, "/apis/v2beta1/healthz")

    assert (health["tag_name"], health["apiServerTagName"], health["apiServerReady"]) == ("2.17.0", "2.17.0", True)


@pytest.mark.usefixtures("processes")
def test_v1beta1_pipelines(server: KfpServer, checked: dict[str, str]) -> None:
    key, version = checked["pipeline"], checked["version"]

    pipeline = ok(server, f"/apis/v1beta1/pipelines/{key}")
    versions = ok(server, "/apis/v1beta1/pipeline_versions", **{"resource_key.type": "PIPELINE",
                                                                "resource_key.id": key})  # fmt: skip

    assert pipeline["name"] == "Looked at in Kubeflow's UI"
    assert pipeline["default_version"]["id"] == version
    assert versions["versions"] == [ok(server, f"/apis/v1beta1/pipeline_versions/{version}")]
    assert versions["versions"][0]["resource_references"] == [
        {"key": {"type": "PIPELINE", "id": key}, "relationship": "OWNER"}
    ]
    template = json.loads(ok(server, f"/apis/v1beta1/pipeline_versions/{version}/templates")["template"])
    assert template["pipelineInfo"]["name"] == kubeflow_ui_pipeline.NAME
    assert json.loads(ok(server, f"/apis/v1beta1/pipelines/{key}/templates")["template"]) == template


@pytest.mark.usefixtures("processes")
def test_v1beta1_run(server: KfpServer, checked: dict[str, str]) -> None:
    detail = ok(server, f"/apis/v1beta1/runs/{checked['run']}")

    run = detail["run"]
    manifest = json.loads(run["pipeline_spec"].pop("pipeline_manifest"))
    assert manifest["pipelineInfo"]["name"] == kubeflow_ui_pipeline.NAME
    assert {**run, "created_at": "", "scheduled_at": "", "finished_at": ""} == {
        "id": checked["run"], "name": "Looked At", "storage_state": "STORAGESTATE_AVAILABLE", "status": "Succeeded",
        "created_at": "", "scheduled_at": "", "finished_at": "",
        "pipeline_spec": {
            "pipeline_id": checked["pipeline"], "pipeline_name": kubeflow_ui_pipeline.NAME,
            "runtime_config": {"parameters": {"share": 0.75}},
        },
        "resource_references": [
            {"key": {"type": "EXPERIMENT", "id": checked["experiment"]}, "name": "looking", "relationship": "OWNER"},
            {"key": {"type": "PIPELINE_VERSION", "id": checked["version"]}, "name": "Looked at in Kubeflow's UI",
             "relationship": "CREATOR"},
        ],
    }  # fmt: skip
    listed = ok(server, "/apis/v1beta1/runs", **{"resource_reference_key.type": "EXPERIMENT",
                                                 "resource_reference_key.id": checked["experiment"]})  # fmt: skip
    assert [entry["id"] for entry in listed["runs"]] == [checked["run"]]
    experiment = ok(server, f"/apis/v1beta1/experiments/{checked['experiment']}")
    assert (experiment["name"], experiment["storage_state"]) == ("looking", "STORAGESTATE_AVAILABLE")


@pytest.mark.usefixtures("processes")
def test_v1beta1_job_and_deletes(server: KfpServer, kfp_client: Any, checked: dict[str, str]) -> None:
    recurring = kfp_client.create_recurring_run(
        checked["experiment"], "hourly", pipeline_id=checked["pipeline"], version_id=checked["version"],
        interval_second=3600, enabled=False,
    )  # fmt: skip
    job = ok(server, f"/apis/v1beta1/jobs/{recurring.recurring_run_id}")

    assert (job["name"], job["enabled"], job["mode"], job["status"]) == ("hourly", False, "DISABLED", "Disabled")
    assert job["trigger"] == {"periodic_schedule": {"interval_second": "3600"}}
    assert json.loads(job["pipeline_spec"]["pipeline_manifest"])["pipelineInfo"]["name"] == kubeflow_ui_pipeline.NAME
    assert [entry["id"] for entry in ok(server, "/apis/v1beta1/jobs")["jobs"]] == [job["id"]]

    run = kfp_client.create_run_from_pipeline_func(cases.facts)
    kfp_client.wait_for_run_completion(run.run_id, 60, 0.05)
    for path in (f"jobs/{job['id']}", f"runs/{run.run_id}"):
        assert httpx2.delete(f"{server.url}/apis/v1beta1/{path}", headers=HEADERS).status_code == 200
        assert get(server, f"/apis/v1beta1/{path}").status_code == 404


@pytest.mark.usefixtures("processes")
def test_a_run_outlives_its_pipeline(server: KfpServer, kfp_client: Any, tmp_path: Path) -> None:
    package = kubeflow_ui_pipeline.write(tmp_path / "check.yaml")
    pipeline = kfp_client.upload_pipeline(str(package), "deleted soon")
    version = kfp_client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0].pipeline_version_id
    experiment = kfp_client.get_experiment(experiment_name="Default").experiment_id
    run = kfp_client.run_pipeline(
        experiment, "outlives", pipeline_id=pipeline.pipeline_id, version_id=version, params={"seconds": 60.0}
    ).run_id

    for path in (f"pipeline_versions/{version}", f"pipelines/{pipeline.pipeline_id}"):
        assert httpx2.delete(f"{server.url}/apis/v1beta1/{path}", headers=HEADERS).status_code == 200
        assert get(server, f"/apis/v1beta1/{path}").status_code == 404

    message = ok(server, f"/apis/v2beta1/runs/{run}")
    assert message["pipeline_spec"]["pipelineInfo"]["name"] == kubeflow_ui_pipeline.NAME
    assert "pipeline_version_reference" not in message
    kfp_client.terminate_run(run)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("version", "operation"), [("v1beta1", "op"), ("v2beta1", "operation")])
def test_filters_ignore_case(server: KfpServer, checked: dict[str, str], version: str, operation: str) -> None:
    predicates = [{"key": "name", operation: "IS_SUBSTRING", "string_value": "LOOKED at"}]

    found = ok(server, f"/apis/{version}/runs", filter=json.dumps({"predicates": predicates}))["runs"]

    assert [run.get("id") or run["run_id"] for run in found] == [checked["run"]]


def test_the_root_execution_has_no_task_name_and_the_others_hang_on_it(executions: list[Any]) -> None:
    root = next(entry for entry in executions if custom(entry, "task_name") == "")
    top = {custom(entry, "task_name") for entry in executions
           if "parent_dag_id" in entry.custom_properties and custom(entry, "parent_dag_id") == root.id}  # fmt: skip

    assert custom(root, "display_name") == "Looked At"
    assert dict(custom(root, "inputs")) == {"share": 0.75, "seconds": 0.0, "fails": False}
    assert top == {"measure", "read", "for-loop-2", "condition-3"}
    assert {entry.last_known_state for entry in executions} == {3}


def test_iterations_of_a_loop_are_numbered(executions: list[Any]) -> None:
    loop = next(entry for entry in executions if "iteration_count" in entry.custom_properties)
    inside = [entry for entry in executions if "iteration_index" in entry.custom_properties]

    assert custom(loop, "iteration_count") == 2
    assert [(custom(entry, "task_name"), custom(entry, "iteration_index"), custom(entry, "parent_dag_id"))
            for entry in inside] == [(custom(loop, "task_name"), index, loop.id) for index in (0, 1)]  # fmt: skip
    for entry in inside:
        step = next(one for one in executions if "parent_dag_id" in one.custom_properties
                    and custom(one, "parent_dag_id") == entry.id)  # fmt: skip
        assert dict(custom(step, "inputs"))["item"] == "ab"[custom(entry, "iteration_index")]


def test_inputs_and_outputs_of_a_step(executions: list[Any]) -> None:
    step = next(entry for entry in executions if custom(entry, "task_name") == "read")

    assert dict(custom(step, "inputs")) == {"right": 8, "seconds": 0, "fails": False}
    assert dict(custom(step, "outputs")) == {"Output": "3 lines, 8 right"}
    assert step.type == "system.ContainerExecution"


def test_metadata_of_artifacts_is_wrapped_for_the_charts(artifacts: dict[str, Any]) -> None:
    assert custom(artifacts["scores"], "accuracy") == 0.75
    assert custom(artifacts["scores"], "questions") == 10
    matrix = dict(custom(artifacts["classes"], "confusionMatrix"))["struct"]
    assert [entry["displayName"] for entry in matrix["annotationSpecs"]] == ["A", "B"]
    curve = dict(custom(artifacts["curve"], "confidenceMetrics"))["list"]
    assert [entry["recall"] for entry in curve] == [0.0, 0.8, 1.0]
    assert all(custom(entry, "display_name") == name for name, entry in artifacts.items())


def test_lineage_leads_from_who_made_to_who_read(
    server: KfpServer, executions: list[Any], artifacts: dict[str, Any]
) -> None:
    names = {entry.id: custom(entry, "task_name") for entry in executions}
    table = artifacts["table"]

    events = call(server.url, "GetEventsByArtifactIDs", artifact_ids=[table.id]).events

    assert [(names[event.execution_id], event.type) for event in events] == [("measure", 4), ("read", 3)]
    types = call(server.url, "GetArtifactTypesByID", type_ids=[table.type_id]).artifact_types
    assert [entry.name for entry in types] == ["system.Dataset"]


@pytest.mark.usefixtures("checked")
def test_lists_are_paged_from_the_newest_on(server: KfpServer) -> None:
    for method, field in (("GetArtifacts", "artifacts"), ("GetExecutions", "executions")):
        whole = [entry.id for entry in getattr(call(server.url, method), field)]
        seen: list[int] = []
        token = ""
        while True:
            page = call(server.url, method, options={"max_result_size": 2, "next_page_token": token})
            seen += [entry.id for entry in getattr(page, field)]
            if not (token := page.next_page_token):
                break
        assert seen == whole == sorted(whole, reverse=True)


def test_both_forms_of_grpc_web_give_the_same(server: KfpServer, executions: list[Any]) -> None:
    ids = [executions[0].id]

    assert call(server.url, "GetExecutionsByID", text=False, execution_ids=ids) == call(
        server.url, "GetExecutionsByID", execution_ids=ids
    )
    contexts = call(server.url, "GetContextsByExecution", execution_id=ids[0]).contexts
    kind = call(server.url, "GetContextType", type_name="system.PipelineRun").context_type
    assert [entry.type_id for entry in contexts] == [kind.id]


@pytest.mark.usefixtures("processes")
def test_a_run_that_is_not_there_has_no_context(server: KfpServer) -> None:
    response = call(server.url, "GetContextByTypeAndName", type_name="system.PipelineRun", context_name="nothing")

    assert not response.HasField("context")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("PutArtifacts", b"\0\0\0\0\0", 12),
        ("GetArtifacts", b"\0\0\0\0\x05abc", 3),
        ("GetArtifacts", b"\0\0\0\0\x03\xff\xff\xff", 3),
        ("GetExecutionsByContext", b"\0\0\0\0\x02\x08\x7f", 5),
    ],
    ids=["a writing method", "a cut frame", "no message", "no such context"],
)
def test_calls_that_are_refused_say_why_in_the_trailers(
    server: KfpServer, method: str, body: bytes, status: int
) -> None:
    with pytest.raises(GrpcWebError) as refused:
        send(server.url, method, body)

    assert refused.value.status == status


def address(artifact: Any) -> dict[str, str]:
    source, _, rest = artifact.uri.partition("://")
    bucket, _, key = rest.partition("/")
    return {"source": source, "bucket": bucket, "key": key}


def test_an_artifact_is_shown_as_text_and_cannot_do_anything(server: KfpServer, artifacts: dict[str, Any]) -> None:
    page = get(server, "/artifacts/get", **address(artifacts["page"]))
    peeked = get(server, "/artifacts/get", peek=8, **address(artifacts["table"]))

    assert page.text.startswith("<h1>A report of HTML")
    assert page.headers["content-type"].startswith("text/plain")
    assert page.headers["content-security-policy"].startswith(SANDBOXED)
    assert page.headers["x-content-type-options"] == "nosniff"
    assert peeked.text == "question"


def test_an_artifact_is_downloaded_as_it_is(server: KfpServer, artifacts: dict[str, Any]) -> None:
    at = address(artifacts["table"])

    response = get(server, f"/artifacts/{at['source']}/{at['bucket']}/{at['key']}")

    assert response.text == "question,answer\n1,A\n2,B\n"
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["content-type"] == "application/octet-stream"


def test_an_artifact_of_metadata_alone_is_empty(server: KfpServer, artifacts: dict[str, Any]) -> None:
    response = get(server, "/artifacts/get", **address(artifacts["scores"]))

    assert (response.status_code, response.text) == (200, "")


def unnormalized(server: KfpServer, path: str) -> int:
    """The status of a path that is sent as it is, dots and all."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers=HEADERS)
    status = connection.getresponse().status
    connection.close()
    return status


def test_only_what_a_task_declared_is_read(
    server: KfpServer, checked: dict[str, str], artifacts: dict[str, Any]
) -> None:
    run, table = checked["run"], address(artifacts["table"])["key"]
    for key in (
        f"{run}/run.log", f"{run}/lock", f"{run}/../../token", f"{run}/%2e%2e/%2e%2e/token", f"{table}/../../../lock",
        f"{run}//etc/passwd", "/etc/passwd", f"nothing/{table}", "",
    ):  # fmt: skip
        assert get(server, "/artifacts/get", source="minio", bucket="runs", key=key).status_code == 404, key
        assert unnormalized(server, f"/artifacts/minio/runs/{key}") in (307, 404), key
    elsewhere = {"source": "s3", "bucket": "bucket", "key": "x"}
    assert get(server, "/artifacts/get", **elsewhere).status_code == 404


@pytest.mark.usefixtures("processes")
def test_a_link_in_a_folder_leads_nowhere(server: KfpServer, kfp_client: Any, marks: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("secret")
    run = kfp_client.create_run_from_pipeline_func(
        cases.everything, arguments={"marks": str(marks), "wait_for": str(tmp_path)}
    ).run_id
    assert kfp_client.wait_for_run_completion(run, 60, 0.05).state == "SUCCEEDED"
    context = call(server.url, "GetContextByTypeAndName", type_name="system.PipelineRun", context_name=run).context
    found = call(server.url, "GetArtifactsByContext", context_id=context.id).artifacts
    model = address(next(entry for entry in found if custom(entry, "display_name") == "model"))
    folder = server.folder / "runs" / model["key"]
    (folder / "link").symlink_to(kept)
    (folder / "own").symlink_to("weights")

    def shown(name: str) -> httpx2.Response:
        return get(server, "/artifacts/get", **{**model, "key": f"{model['key']}{name}"})

    assert shown("").text == "link\nown\nweights\n"
    assert shown("/weights").text == shown("/own").text == "x"
    assert shown("/link").status_code == 404
    elsewhere = next(entry for entry in found if custom(entry, "display_name") == "elsewhere")
    assert elsewhere.uri == "s3://bucket/x"


def test_logs_of_a_step(server: KfpServer, checked: dict[str, str], executions: list[Any]) -> None:
    step = custom(next(entry for entry in executions if custom(entry, "task_name") == "measure"), "pod_name")

    for response in (
        get(server, "/k8s/pod/logs", podname=step, runid=checked["run"]),
        get(server, f"/apis/v1beta1/runs/{checked['run']}/nodes/{step}/log"),
    ):
        assert kubeflow_ui_pipeline.LOG_LINE in response.text
        assert response.headers["content-security-policy"].startswith(SANDBOXED)
    assert get(server, "/k8s/pod/logs", podname="../run", runid=checked["run"]).status_code == 404


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("path", ["/ml_metadata.MetadataStoreService/GetArtifacts", "/artifacts/get", "/k8s/pod/logs",
                                  "/apis/v1beta1/runs", "/runs"])  # fmt: skip
def test_everything_needs_the_token_and_our_own_page(server: KfpServer, path: str) -> None:
    method = "POST" if "Service" in path else "GET"
    url = f"{server.url}{path}"

    assert httpx2.request(method, url).status_code == 401
    foreign = {**HEADERS, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    assert httpx2.request(method, url, headers=foreign).status_code == 403
    assert httpx2.request(method, url, headers={**HEADERS, "Host": "evil.example"}).status_code == 403
