"""What is refused at submission, how; and that nothing a client sends breaks the server or leaves its folder."""

from __future__ import annotations

import io
import json
import random
import string
import tarfile
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx2
import kfp_cases as cases
import pytest
import yaml
from kfp import compiler
from kfp_server import HEADERS, KfpServer

pytestmark = pytest.mark.usefixtures("processes")

GOOD = {"text": "t", "whole": 1, "number": 0.5, "flag": True, "many": [1]}


def spec_of(pipeline: Any, folder: Path) -> dict[str, Any]:
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return spec_of(cases.typed, tmp_path_factory.mktemp("typed"))


@pytest.fixture
def http(server: KfpServer) -> httpx2.Client:
    return httpx2.Client(base_url=f"{server.url}/apis/v2beta1", headers=HEADERS, timeout=20)


def submit(http: httpx2.Client, spec: Any, parameters: Any = None, **more: Any) -> httpx2.Response:
    body = {
        "display_name": "refused",
        "pipeline_spec": spec,
        "runtime_config": {"parameters": parameters or {}},
        **more,
    }
    return http.post("/runs", json=body)


def refused(answer: httpx2.Response, *words: str, status: int = 400, code: int = 3) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "code", "message", "details"}
    assert (body["code"], body["error"]) == (code, body["message"])
    assert "\n" not in body["message"]
    for word in words:
        assert word in body["message"], body["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": 5}, ["'text' must be a string", "5"]),
        ({"whole": 1.5}, ["'whole' must be a whole number", "1.5"]),
        ({"whole": True}, ["'whole' must be a whole number"]),
        ({"number": "0.5"}, ["'number' must be a number"]),
        ({"flag": "true"}, ["'flag' must be true or false"]),
        ({"many": {}}, ["'many' must be a list"]),
        ({"thing": []}, ["'thing' must be an object"]),
        ({"other": 1}, ["'other' is not an input", "text"]),
    ],
)
def test_parameters(http: httpx2.Client, typed: dict[str, Any], change: dict[str, Any], words: list[str]) -> None:
    refused(submit(http, typed, {**GOOD, **change}), *words)


def test_a_missing_parameter(http: httpx2.Client, typed: dict[str, Any]) -> None:
    refused(submit(http, typed, {key: value for key, value in GOOD.items() if key != "flag"}), "'flag' is missing")


def test_container_components(http: httpx2.Client, tmp_path: Path) -> None:
    refused(submit(http, spec_of(cases.contained, tmp_path)), "container component", "alpine", "cluster")


def test_pipelines_that_could_not_run(http: httpx2.Client, tmp_path: Path) -> None:
    good = spec_of(cases.gated, tmp_path)
    task = ["root", "dag", "tasks", "decide"]
    condition = ["components", "comp-condition-branches-1", "dag", "tasks", "condition-2", "triggerPolicy", "condition"]
    for path, value, word in [
        (["root"], {}, "no root.dag"),
        (["root", "dag", "tasks"], {}, "no tasks"),
        (["pipelineInfo", "name"], "../../x", "name"),
        ([*task, "componentRef", "name"], "comp-other", "no component 'comp-other'"),
        ([*task, "dependentTasks"], ["decide"], "wait for each other"),
        ([*task, "dependentTasks"], ["nobody"], "'nobody'"),
        ([*task, "colour"], "red", "colour"),
        (condition, "system('x')", "not understood"),
        (condition, "inputs.parameter_values['other'] == true", "'other'"),
        (["components", "comp-decide", "executorLabel"], "exec-other", "no executor"),
        (["components", "comp-condition-branches-1", "dag", "tasks", "condition-2", "componentRef", "name"],
         "comp-condition-branches-1", "within itself"),
        (["deploymentSpec", "executors"], [], "executors"),
    ]:  # fmt: skip
        broken = deepcopy(good)
        place = broken
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        refused(submit(http, broken, {"x": 1, "marks": "m"}), word)
    doubled = deepcopy(good)
    for level in range(40):
        inner = {f"t{i}": {"componentRef": {"name": f"comp-l{level + 1}"}} for i in range(9)}
        doubled["components"][f"comp-l{level}"] = {"dag": {"tasks": inner}}
    doubled["components"]["comp-l40"] = good["components"]["comp-decide"]
    doubled["root"]["dag"]["tasks"] = {"t": {"componentRef": {"name": "comp-l0"}}}
    refused(submit(http, doubled, {"x": 1, "marks": "m"}), "more than 2000 tasks")


def test_references_and_bodies(http: httpx2.Client, typed: dict[str, Any]) -> None:
    refused(submit(http, typed, GOOD, experiment_id="none"), "experiment", status=404, code=5)
    refused(submit(http, None, GOOD), "either a pipeline_spec or a pipeline_version_reference")
    reference = {"pipeline_id": "p", "pipeline_version_id": "v"}
    refused(submit(http, None, pipeline_version_reference=reference), status=404, code=5)
    refused(submit(http, typed, GOOD, display_name=""), "display_name")
    refused(http.post("/runs", content=b"{"), "not JSON")
    refused(http.post("/runs", content=b"[1]"), "must be a JSON object")
    refused(http.post("/runs", content=b'{"a": NaN}'), "not JSON")
    refused(http.post("/runs", content=b'{"display_name": "\\ud800"}'), "not JSON")
    refused(http.get("/runs/none"), "'none'", status=404, code=5)
    refused(http.post("/runs/none:terminate"), status=404, code=5)
    refused(http.get("/nothing"), "no such path", status=404, code=5)
    refused(http.put("/runs"), "method", status=405, code=12)
    refused(http.post("/experiments", json={"display_name": "Default"}), "already exists", status=409, code=6)
    too_large = http.post("/runs", content=b" " * (33 * 1024 * 1024))
    refused(too_large, "larger than", status=413, code=8)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"page_size": "-1"}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"sort_by": "password"}, "sort_by"),
        ({"sort_by": "created_at; DROP TABLE runs"}, "sort_by"),
        ({"filter": "{"}, "not JSON"),
        ({"filter": '{"predicates": [{"operation": "EQUALS", "key": "spec", "string_value": "x"}]}'}, "key"),
        ({"filter": '{"predicates": [{"operation": "LIKE", "key": "state", "string_value": "x"}]}'}, "LIKE"),
        (
            {"filter": '{"predicates": [{"operation": "GREATER_THAN", "key": "created_at", "timestamp_value": "x"}]}'},
            "RFC 3339",
        ),
        ({"filter": '{"predicates": 1}'}, "predicates"),
    ],
)
def test_list_options(http: httpx2.Client, query: dict[str, str], word: str) -> None:
    refused(http.get("/runs", params=query), word)


def test_uploads(http: httpx2.Client, tmp_path: Path) -> None:
    compiler.Compiler().compile(cases.gated, str(tmp_path / "gated.yaml"))
    content = (tmp_path / "gated.yaml").read_bytes()

    def upload(file: str, body: bytes, **query: str) -> httpx2.Response:
        return http.post("/pipelines/upload", params=query, files={"uploadfile": (file, body)})

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../pipeline.yaml", content)
    assert upload("p.zip", packed.getvalue(), name="zipped").json()["display_name"] == "zipped"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tarball:
        tarball.add(tmp_path / "gated.yaml", "pipeline.yaml")
    assert upload("p.tar.gz", packed.getvalue(), name="tarred").status_code == 200
    assert upload("p.yaml", content).json()["name"] == "gated"
    refused(upload("p.yaml", content), "already exists", status=409, code=6)

    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pipeline.yaml", b" " * (64 * 1024 * 1024))
    refused(upload("p.zip", bomb.getvalue()), "larger", status=413, code=8)
    laughs = "a: &a [x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    for name, body, word in [
        ("p.zip", b"PK", "cannot be read"),
        ("p.tar.gz", content, "cannot be read"),
        ("p.yaml", b"a: [", "not YAML"),
        ("p.yaml", b"- 1", "mapping"),
        ("p.yaml", b"", "mapping"),
        ("p.yaml", b"!!python/object/apply:os.system ['true']", "not YAML"),
        ("p.yaml", laughs.encode(), "aliases"),
        ("p.yaml", b"\xff\xfe\x00", "not"),
    ]:
        refused(upload(name, body), word)
    refused(http.post("/pipelines/upload", content=content), "multipart")
    refused(http.post("/pipelines/upload_version", files={"uploadfile": ("p.yaml", content)}), "pipelineid")


def test_pages_of_other_origins_are_refused(server: KfpServer) -> None:
    for headers in ({"Origin": "https://example.org"}, {"Host": "example.org"}, {"Host": "example.org:80"}):
        refused(httpx2.get(f"{server.url}/apis/v2beta1/runs", headers=HEADERS | headers), status=403, code=7)
    origin = {**HEADERS, "Origin": server.url}
    assert httpx2.get(f"{server.url}/apis/v2beta1/runs", headers=origin).status_code == 200


def test_random_requests_are_never_an_error_of_the_server(server: KfpServer, typed: dict[str, Any]) -> None:
    draw = random.Random(7)
    before = {path.name for path in server.folder.parent.iterdir()}
    paths = ["runs", "experiments", "pipelines", "pipelines/upload", "pipelines/upload_version", "pipelines/create"]
    odd = ["..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "\u0000", "é", "a" * 5000, "x:y", "%00", "'; DROP TABLE runs;--"]

    def value(depth: int = 0) -> Any:
        kinds = [None, True, -1, 2**70, 0.1, "", "x" * 300, "\u2028", draw.choice(odd)]
        if depth > 3:
            return draw.choice(kinds)
        return draw.choice(
            [*kinds, [value(depth + 1)], {draw.choice([*typed, "name", "predicates"]): value(depth + 1)}]
        )

    def mutate(node: Any) -> Any:
        if isinstance(node, dict) and node and draw.random() < 0.8:
            key = draw.choice(list(node))
            return {**node, key: mutate(node[key])}
        return value()

    with httpx2.Client(base_url=server.url, headers=HEADERS, timeout=20) as client:
        for _ in range(400):
            # Mostly without parameters, for what is accepted would run.
            given = GOOD if draw.random() < 0.05 else {}
            spec = mutate(deepcopy(typed))
            body = {"display_name": "x", "pipeline_spec": spec, "runtime_config": {"parameters": given}}
            chosen = draw.random()
            if chosen < 0.5:
                answer = client.post("/apis/v2beta1/runs", json=mutate(body) if chosen < 0.2 else body)
            elif chosen < 0.65:
                content = bytes(draw.randrange(256) for _ in range(draw.randrange(60)))
                name = draw.choice(["p.yaml", "p.zip", "p.tgz", "../p.yaml"])
                answer = client.post(f"/apis/v2beta1/{draw.choice(paths)}", files={"uploadfile": (name, content)})
            elif chosen < 0.8:
                answer = client.post(f"/apis/v2beta1/{draw.choice(paths)}", content=json.dumps(value()))
            else:
                tail = "".join(draw.choice(["/", ":", *odd, *string.ascii_letters]) for _ in range(draw.randrange(4)))
                start = draw.choice(["/apis/v2beta1/runs/", "/runs/x/files/", "/apis/v2beta1/pipelines/", "/"])
                try:
                    request = client.build_request(draw.choice(["GET", "POST", "DELETE"]), start + tail)
                except httpx2.InvalidURL:
                    continue
                answer = client.send(request)
            assert answer.status_code < 500, (answer.request.method, answer.request.url, answer.text)
            if answer.status_code == 200 and "run_id" in answer.text and answer.request.method == "POST":
                client.delete(f"/apis/v2beta1/runs/{answer.json()['run_id']}")
    assert {path.name for path in server.folder.parent.iterdir()} == before


def test_files_outside_the_run_are_not_served(server: KfpServer, kfp_client: Any, marks: Path) -> None:
    started = kfp_client.create_run_from_pipeline_func(cases.reports, arguments={"marks": str(marks)})
    kfp_client.wait_for_run_completion(started.run_id, 60, 0.05)
    base = f"{server.url}/runs/{started.run_id}/files"
    for path in ("../../pipelines.sqlite", "..%2f..%2fpipelines.sqlite", "%2fetc%2fpasswd", "run.log", "lock", ""):
        assert httpx2.get(f"{base}/{path}", headers=HEADERS).status_code == 404
