"""The API's HTTP contract: statuses, Status bodies, paging, watches, and what a kill -9 leaves."""

from __future__ import annotations

import copy
import json
import stat
import threading
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.usefixtures("processes")

ISVCS = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
ISVC = f"{ISVCS}/coding-mcqa"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
def client(platform: Any) -> Any:
    with platform.client as client:
        yield client


def refused(response: httpx2.Response, code: int, reason: str) -> dict[str, Any]:
    status = response.json()
    assert (response.status_code, status["kind"], status["reason"], status["code"]) == (code, "Status", reason, code)
    return status


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


def test_details_name_the_object(client: Any, isvc: Any) -> None:
    details = refused(client.get(ISVC), 404, "NotFound")["details"]
    assert details == {"name": "coding-mcqa", "group": "serving.kserve.io", "kind": "inferenceservices"}
    assert client.post(ISVCS, json=isvc).status_code == 201
    assert refused(client.post(ISVCS, json=isvc), 409, "AlreadyExists")["details"]["name"] == "coding-mcqa"


@pytest.mark.parametrize(
    ("method", "path", "options", "code", "reason"),
    [
        ("GET", "/apis/none/v1/things", {}, 404, "NotFound"),
        ("GET", "/apis/serving.kserve.io/v1beta1/namespaces/default/things", {}, 404, "NotFound"),
        ("POST", ISVCS, {"content": b"{"}, 400, "BadRequest"),
        ("POST", ISVCS, {"content": b"[" * 5000 + b"]" * 5000}, 400, "BadRequest"),
        ("POST", ISVCS, {"json": []}, 400, "BadRequest"),
        ("POST", CONFIG_MAPS, {"content": b'{"metadata": {"name": "\\ud800"}}'}, 400, "BadRequest"),
        ("POST", ISVCS, {"content": b'{"spec": {"predictor": {"minReplicas": NaN}}}'}, 400, "BadRequest"),
        ("POST", ISVCS, {"json": {"kind": "Trigger", "apiVersion": "serving.kserve.io/v1beta1"}}, 400, "BadRequest"),
        ("POST", ISVCS, {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "UnsupportedMediaType"),
        ("POST", ISVCS, {"content": b" " * (3 * 1024 * 1024 + 1)}, 413, "RequestEntityTooLarge"),
        ("POST", f"{ISVCS}/coding-mcqa", {"json": {}}, 405, "MethodNotAllowed"),
        ("PUT", ISVCS, {"json": {}}, 405, "MethodNotAllowed"),
        ("GET", f"{ISVCS}?labelSelector=a~b", {}, 400, "BadRequest"),
        ("GET", f"{ISVCS}?fieldSelector=spec.x=y", {}, 400, "BadRequest"),
        ("GET", f"{ISVCS}?limit=many", {}, 400, "BadRequest"),
        ("GET", f"{ISVCS}?continue=nonsense", {}, 400, "BadRequest"),
        ("GET", f"{ISVCS}?watch=1&resourceVersion=x", {}, 400, "BadRequest"),
    ],
)
def test_refusals(client: Any, method: Any, path: str, options: Any, code: int, reason: Any) -> None:
    refused(client.request(method, path, **options), code, reason)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}])
def test_without_the_token_nothing_is_told(platform: Any, header: Any) -> None:
    with httpx2.Client(base_url=platform.url, verify=False, headers=header) as stranger:
        refused(stranger.get("/apis"), 401, "Unauthorized")
        refused(stranger.get("/api/v1/secrets"), 401, "Unauthorized")
        assert stranger.get("/readyz").text == "ok"


def test_wrong_types_are_invalid_with_their_path(client: Any, isvc: Any) -> None:
    isvc["spec"]["predictor"]["minReplicas"] = "none"
    status = refused(client.post(ISVCS, json=isvc), 422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "spec.predictor.minReplicas"
    del isvc["spec"]["predictor"]["model"]["modelFormat"], isvc["spec"]["predictor"]["minReplicas"]
    status = refused(client.post(ISVCS, json=isvc), 422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "spec.predictor.model.modelFormat"
    isvc["metadata"]["name"] = "Not_A_Name"
    refused(client.post(ISVCS, json=isvc), 422, "Invalid")


def test_unknown_fields_by_validation(client: Any, isvc: Any) -> None:
    isvc["spec"]["predictor"]["minReplica"] = 1
    assert (
        "minReplica" in refused(client.post(f"{ISVCS}?fieldValidation=Strict", json=isvc), 400, "BadRequest")["message"]
    )
    warned = client.post(ISVCS, json=isvc)
    assert warned.headers["warning"] == '299 - "unknown field \\"spec.predictor.minReplica\\""'
    assert "minReplica" not in warned.json()["spec"]["predictor"]


def test_generation_counts_changes_of_spec_only(client: Any, isvc: Any) -> None:
    created = client.post(ISVCS, json={**isvc, "status": {"url": "http://x"}}).json()
    assert "status" not in created
    steps = [
        (ISVC, {"metadata": {"labels": {"a": "b"}}}, 1),
        (f"{ISVC}/status", {"status": {"url": "http://x"}, "spec": {"predictor": {"minReplicas": 9}}}, 1),
        (ISVC, {"spec": {"predictor": {"minReplicas": 1}}, "status": {"url": "http://y"}}, 2),
        (ISVC, {"spec": {"predictor": {"minReplicas": 1}}}, 2),
    ]
    versions = [int(created["metadata"]["resourceVersion"])]
    for path, patch, generation in steps:
        patched = client.patch(path, json=patch, headers=MERGE).json()
        assert patched["metadata"]["generation"] == generation
        versions.append(int(patched["metadata"]["resourceVersion"]))
    assert versions == sorted(versions)
    assert versions[-1] == versions[-2], "writing the same again is no change"
    assert (patched["status"], patched["spec"]["predictor"]["minReplicas"]) == ({"url": "http://x"}, 1)
    assert patched["metadata"]["uid"] == created["metadata"]["uid"]


def test_updates_need_the_current_version(client: Any, isvc: Any) -> None:
    created = client.post(ISVCS, json=isvc).json()
    newer = client.patch(ISVC, json={"metadata": {"labels": {"a": "b"}}}, headers=MERGE).json()
    for path in (ISVC, f"{ISVC}/status"):
        refused(client.put(path, json=created), 409, "Conflict")
    stale = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}}
    refused(client.patch(ISVC, json=stale, headers=MERGE), 409, "Conflict")
    nameless = copy.deepcopy(newer)
    del nameless["metadata"]["resourceVersion"]
    refused(client.put(ISVC, json=nameless), 422, "Invalid")
    other = copy.deepcopy(newer)
    other["metadata"]["uid"] = "another"
    refused(client.put(ISVC, json=other), 409, "Conflict")
    assert client.put(ISVC, json=newer).status_code == 200
    for wanted in ({"uid": "another"}, {"resourceVersion": "1"}):
        refused(client.request("DELETE", ISVC, json={"preconditions": wanted}), 409, "Conflict")
    assert client.delete(ISVC).json()["details"]["uid"] == created["metadata"]["uid"]


def test_pages_hold_every_object_once(client: Any) -> None:
    for index in range(7):
        assert client.post(CONFIG_MAPS, json={"metadata": {"name": f"c{index}"}}).status_code == 201
    names, token, remaining = [], "", []
    while True:
        page = client.get(CONFIG_MAPS, params={"limit": 3, "continue": token}).json()
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        remaining.append(page["metadata"].get("remainingItemCount", 0))
        if not token:
            break
    assert names == [f"c{index}" for index in range(7)]
    assert remaining == [4, 1, 0]


def test_a_selector_turns_changes_into_coming_and_going(client: Any) -> None:
    version = client.get(CONFIG_MAPS).json()["metadata"]["resourceVersion"]
    client.post(CONFIG_MAPS, json={"metadata": {"name": "c", "labels": {"a": "1"}}})
    for value in ("2", "2", "1"):
        client.patch(f"{CONFIG_MAPS}/c", json={"metadata": {"labels": {"a": value}}}, headers=MERGE)
    client.delete(f"{CONFIG_MAPS}/c")
    query = {"watch": "1", "timeoutSeconds": "1", "resourceVersion": version}
    changes = events(client.get(CONFIG_MAPS, params={**query, "labelSelector": "a=2"}))
    assert [event["type"] for event in changes] == ["ADDED", "DELETED"]
    changes = events(client.get(CONFIG_MAPS, params=query))
    assert [event["type"] for event in changes] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]


def test_initial_events_end_with_a_bookmark(client: Any) -> None:
    client.post(CONFIG_MAPS, json={"metadata": {"name": "c"}})
    query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    changes = events(client.get(f"{CONFIG_MAPS}?{query}"))
    assert [event["type"] for event in changes] == ["ADDED", "BOOKMARK", "BOOKMARK"]
    assert changes[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(changes[2]["object"]["metadata"]["resourceVersion"]) > 0


def test_finalizers_hold_a_deletion_back(client: Any, isvc: Any) -> None:
    isvc["metadata"]["finalizers"] = ["coding-mcqa/wait"]
    client.post(ISVCS, json=isvc)
    held = client.delete(ISVC).json()
    assert held["metadata"]["deletionTimestamp"]
    assert client.get(ISVC).status_code == 200
    client.patch(ISVC, json={"metadata": {"finalizers": None}}, headers=MERGE)
    refused(client.get(ISVC), 404, "NotFound")


def test_a_namespace_terminates_before_it_goes(client: Any) -> None:
    client.post("/api/v1/namespaces", json={"metadata": {"name": "ending"}})
    there = "/api/v1/namespaces/ending/configmaps"
    assert client.post(there, json={"metadata": {"name": "c"}}).status_code == 201
    assert client.delete("/api/v1/namespaces/ending").json()["status"] == {"phase": "Terminating"}
    assert (
        "being terminated" in refused(client.post(there, json={"metadata": {"name": "d"}}), 403, "Forbidden")["message"]
    )
    assert client.get(f"{there}/c").status_code == 200
    events(client.get("/api/v1/namespaces/ending?watch=1&timeoutSeconds=4"))
    refused(client.get("/api/v1/namespaces/ending"), 404, "NotFound")
    refused(client.get(f"{there}/c"), 404, "NotFound")


def test_what_is_owned_goes_along(client: Any, isvc: Any) -> None:
    owner = client.post(ISVCS, json=isvc).json()
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": "coding-mcqa"}
    reference["uid"] = owner["metadata"]["uid"]
    client.post(CONFIG_MAPS, json={"metadata": {"name": "owned", "ownerReferences": [reference]}})
    client.post(CONFIG_MAPS, json={"metadata": {"name": "free"}})
    client.delete(ISVC)
    assert [item["metadata"]["name"] for item in client.get(CONFIG_MAPS).json()["items"]] == ["free"]


def test_the_files_are_their_owners_only(platform: Any) -> None:
    for name in ("kubeconfig", "kube/token", "kube/key.pem", "kube/kube.sqlite", "kube/kube.sqlite-wal"):
        assert stat.S_IMODE((platform.folder / name).stat().st_mode) == 0o600, name
    assert platform.url.startswith("https://127.0.0.1:")


def test_kill_keeps_every_acknowledged_write(own_platform: Any) -> None:
    acknowledged: list[tuple[str, str]] = []
    stop = threading.Event()

    def write(worker: int) -> None:
        with own_platform.client as client:
            for index in range(10_000):
                name = f"w{worker}-{index}"
                try:
                    response = client.post(CONFIG_MAPS, json={"metadata": {"name": name}, "data": {"i": str(index)}})
                except httpx2.TransportError:
                    return
                assert response.status_code == 201
                acknowledged.append((name, response.json()["metadata"]["resourceVersion"]))
                if len(acknowledged) >= 60:
                    stop.set()

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
    for writer in writers:
        writer.start()
    assert stop.wait(60)
    token = own_platform.config["users"][0]["user"]["token"]
    own_platform.kill()
    for writer in writers:
        writer.join(20)
    own_platform.start()
    assert own_platform.config["users"][0]["user"]["token"] == token
    with own_platform.client as client:
        listing = client.get(CONFIG_MAPS).json()
        versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listing["items"]}
        assert dict(acknowledged).items() <= versions.items()
        assert len(set(versions.values())) == len(versions), "no version is given twice"
        begun = min(int(version) for version in versions.values())
        query = {"watch": "1", "timeoutSeconds": "1", "resourceVersion": begun}
        later = events(client.get(CONFIG_MAPS, params=query))
        assert len(later) == len(versions) - 1, "a watch goes on where it was"
        created = client.post(CONFIG_MAPS, json={"metadata": {"name": "after"}}).json()
        assert int(created["metadata"]["resourceVersion"]) > max(map(int, versions.values()))
