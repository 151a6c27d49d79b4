"""The API while its state cannot be written: reads are answered, writes are told to come back, and then succeed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import Disk, disk
from starlette.testclient import TestClient

from local.kube.app import make_app
from local.kube.store import ResourceStore

pytestmark = pytest.mark.usefixtures("processes")

PATH = "/api/v1/namespaces/default/configmaps"
TOKEN = {"authorization": "Bearer t"}


@pytest.fixture
def place(tmp_path: Path, processes: None) -> Iterator[Disk]:
    with disk(tmp_path / "disk", "4m") as made:
        yield made


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": "y" * 50_000}}


def test_a_full_disk_is_503_for_writes_only(place: Disk) -> None:
    store = ResourceStore(place.path / "kube.sqlite")
    with TestClient(make_app(store, "t", {"/-/status": lambda: {"storage": bool(store.trouble)}})) as client:
        created = []
        with place.full():
            for number in range(1000):
                answer = client.post(PATH, json=config_map(f"m{number}"), headers=TOKEN)
                if answer.status_code != 201:
                    break
                created.append(f"m{number}")
            assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert "no space" in answer.json()["message"]
            listed = client.get(PATH, headers=TOKEN)
            assert [item["metadata"]["name"] for item in listed.json()["items"]] == sorted(created)
            assert client.get("/-/status", headers=TOKEN).json() == {"storage": True}
        store.check()
        assert client.get("/-/status", headers=TOKEN).json() == {"storage": False}
        assert client.post(PATH, json=config_map("after"), headers=TOKEN).status_code == 201
        assert client.get("/-/status").status_code == 401
    store.close()
