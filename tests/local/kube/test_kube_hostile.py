"""Requests that nobody should send: every one gets a Status below 500, and what is stored stays readable."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from local.kube.app import make_app
from local.kube.requests import PATCH_TYPES
from local.kube.store import ResourceStore

TRIGGER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Trigger",
    "metadata": {"name": "t", "labels": {"a": "b"}, "finalizers": [], "ownerReferences": [{"uid": "u"}]},
    "spec": {
        "broker": "default",
        "filters": [{"any": [{"exact": {"type": "a"}}, {"not": {"cesql": "TRUE"}}]}],
        "subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "x"}},
        "delivery": {"retry": 3, "backoffDelay": "PT1S"},
    },
}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
PATHS = {
    "InferenceService": "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices",
    "Trigger": "/apis/eventing.knative.dev/v1/namespaces/default/triggers",
    "ConfigMap": "/api/v1/namespaces/default/configmaps",
}
JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "A" * 300,
    [],
    {},
    [None],
    [{}],
    {"a": None},
    {"": 1},
    "\ud800",
    10**30,
    [[[]]],
]
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResourceStore]:
    store = ResourceStore(tmp_path / "kube.sqlite", keep=20)
    yield store
    store.close()


@pytest.fixture
def client(store: ResourceStore) -> Iterator[TestClient]:
    app = make_app(store, "token")
    with TestClient(app, raise_server_exceptions=False, headers={"Authorization": "Bearer token"}) as client:
        yield client


def spoilt(chance: random.Random, item: dict[str, Any]) -> dict[str, Any]:
    """The object with up to three of its values replaced or taken out."""
    item = copy.deepcopy(item)
    for _ in range(chance.randint(0, 3)):
        node: Any = item
        while isinstance(node, dict | list) and node:
            key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
            if chance.random() < 0.3 or not isinstance(node[key], dict | list) or not node[key]:
                if chance.random() < 0.2:
                    del node[key]
                else:
                    node[key] = copy.deepcopy(chance.choice(JUNK))
                break
            node = node[key]
    return item


@pytest.mark.parametrize("seed", range(3))
def test_nothing_breaks_it(client: TestClient, isvc: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)
    codes: set[int] = set()
    for _ in range(300):
        good = chance.choice([isvc, TRIGGER, CONFIG])
        path, body = PATHS[good["kind"]], spoilt(chance, good)
        object_path = f"{path}/{good['metadata']['name']}"
        verb = chance.choice(["POST", "POST", "PUT", "PATCH", "PATCH", "DELETE"])
        headers = {}
        if verb == "PATCH":
            headers["Content-Type"] = chance.choice(list(PATCH_TYPES))
        if verb == "PUT" and isinstance(body.get("metadata"), dict):
            body["metadata"]["resourceVersion"] = (
                client.get(object_path).json().get("metadata", {}).get("resourceVersion")
            )
        target = path if verb == "POST" else f"{object_path}?fieldManager=m{chance.randint(0, 2)}"
        answer = client.request(verb, target, content=json.dumps(body), headers=headers)
        assert answer.status_code < 500, (verb, target, body)
        codes.add(answer.status_code)
        assert client.get(path, headers=TABLE).status_code == 200
    assert {200, 201, 400, 404, 409, 422} <= codes


def test_what_is_forgotten_is_gone(client: TestClient) -> None:
    for index in range(150):
        client.post(PATHS["ConfigMap"], json={"metadata": {"name": f"c{index}"}})
    answer = client.get(f"{PATHS['ConfigMap']}?watch=1&resourceVersion=5&timeoutSeconds=5")
    event = json.loads(answer.text)
    assert (answer.status_code, event["type"]) == (200, "ERROR")
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    token = client.get(f"{PATHS['ConfigMap']}?limit=10").json()["metadata"]["continue"]
    for index in range(150, 300):
        client.post(PATHS["ConfigMap"], json={"metadata": {"name": f"c{index}"}})
    assert client.get(PATHS["ConfigMap"], params={"limit": 10, "continue": token}).json()["reason"] == "Expired"
