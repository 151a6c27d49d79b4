"""The store as controllers use it: watches across threads and processes, compaction, status, ownership."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from local.kube.store import ResourceStore, StatusError, WriteOptions

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = ResourceStore(tmp_path / "kube.sqlite")
    yield store
    store.close()


def config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_status_is_written_apart(store: ResourceStore, isvc: Any) -> None:
    created = store.create(isvc)
    written = store.update_status({**created, "status": {"url": "http://x"}, "spec": {}})
    assert written["spec"] == isvc["spec"]
    assert (written["status"], written["metadata"]["generation"]) == ({"url": "http://x"}, 1)
    with pytest.raises(StatusError) as stale:
        store.update_status({**created, "status": {"url": "http://y"}})
    assert (stale.value.code, stale.value.reason) == (409, "Conflict")


def test_core_and_knative_services_are_two_kinds(store: ResourceStore) -> None:
    knative = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "a"}}
    store.create({**knative, "spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}})
    assert store.list("Service").items == []
    assert len(store.list("Service.serving.knative.dev").items) == 1
    with pytest.raises(KeyError, match="Deployment is not served"):
        store.list("Deployment")


def test_a_watch_begins_with_what_is_there_and_goes_on(store: ResourceStore) -> None:
    store.create(config("a"))
    seen = []

    def read() -> None:
        for change in store.watch("ConfigMap", timeout=20):
            seen.append((change.type, change.object["metadata"]["name"]))
            if change.type == "DELETED":
                return

    reader = threading.Thread(target=read)
    reader.start()
    store.create(config("b"))
    store.delete("ConfigMap", "b")
    reader.join(20)
    assert seen in (
        [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "b")],
        [("ADDED", "a"), ("DELETED", "b")],  # the reader listed after b was made
    )


@pytest.mark.usefixtures("processes")
def test_another_process_is_seen(store: ResourceStore, tmp_path: Path) -> None:
    since = store.version
    code = (
        "import sys; from pathlib import Path; from local.kube.store import ResourceStore\n"
        "s = ResourceStore(Path(sys.argv[1]))\n"
        "s.create({'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'theirs'}})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "kube.sqlite")], cwd=ROOT, check=True)
    change = next(store.watch("ConfigMap", since=since, timeout=10))
    assert (change.type, change.object["metadata"]["name"]) == ("ADDED", "theirs")


@pytest.mark.usefixtures("processes")
def test_two_processes_never_share_a_version(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from local.kube.store import ResourceStore\n"
        "s = ResourceStore(Path(sys.argv[1]))\n"
        "for i in range(40): s.create({'apiVersion': 'v1', 'kind': 'ConfigMap', "
        "'metadata': {'name': f'{sys.argv[2]}-{i}'}})"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "kube.sqlite"), name], cwd=ROOT)
        for name in ("a", "b")
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    store = ResourceStore(tmp_path / "kube.sqlite")
    versions = [item["metadata"]["resourceVersion"] for item in store.list("ConfigMap").items]
    store.close()
    assert len(set(versions)) == len(versions) == 80


def test_old_versions_expire(tmp_path: Path) -> None:
    store = ResourceStore(tmp_path / "kube.sqlite", keep=20)
    item = store.create(config("a"))
    for index in range(150):
        item = store.update({**item, "data": {"i": str(index)}})
    with pytest.raises(StatusError) as gone:
        next(store.watch("ConfigMap", since=5, timeout=1))
    assert (gone.value.code, gone.value.reason) == (410, "Expired")
    with pytest.raises(StatusError, match="too old resource version"):
        next(store.watch("ConfigMap", since=store.version + 100, timeout=1))
    recent = list(store.watch("ConfigMap", since=store.version - 3, timeout=0.1))
    assert [change.object["data"]["i"] for change in recent] == ["147", "148", "149"]
    store.close()


def test_a_refused_write_leaves_nothing(store: ResourceStore, isvc: Any) -> None:
    created, before = store.create(isvc), store.version
    isvc["spec"]["predictor"]["canaryTrafficPercent"] = 101
    with pytest.raises(StatusError, match="between 0 and 100"):
        store.update({**created, "spec": isvc["spec"]})
    assert store.version == before
    assert store.get("InferenceService", "coding-mcqa") == created


def test_a_dry_run_is_only_shown(store: ResourceStore) -> None:
    before = store.version
    store.create(config("a"), options=WriteOptions(dry_run=True))
    assert store.version == before
    assert store.list("ConfigMap").items == []


def test_names_are_generated(store: ResourceStore) -> None:
    body = config("")
    body["metadata"] = {"generateName": "run-"}
    names = {store.create(body)["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("run-") and len(name) == 9 for name in names)


def test_writing_a_status_does_not_ask_admission_again(store: ResourceStore) -> None:
    """A stored object that a stricter platform would refuse today must still be able to tell its state."""
    trigger = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "t"},
        "spec": {"broker": "default", "subscriber": {"uri": "http://x"}},
    }
    created = store.create(trigger)
    assert store.update_status({**created, "status": {"subscriberUri": "http://x"}})["status"]
