"""The manifests as the platform reads and applies them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.annotations import MODEL_VERSION_ANNOTATION
from local.kube.store import ResourceStore
from local.platform import manifests
from local.platform.settings import PlatformError

ROOT = Path(__file__).resolve().parents[3]


def by_name(items: Any) -> Any:
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("folder", ["knative", "kserve"])
def test_reads_what_kubectl_reads(folder: Any) -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    rendered = subprocess.run([program, "kustomize", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    assert by_name(manifests.load(ROOT / folder)) == by_name(yaml.safe_load_all(rendered.stdout))


def test_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\nnamePrefix: a-\n")
    with pytest.raises(PlatformError, match="namePrefix is not supported here"):
        manifests.load(tmp_path)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(PlatformError, match=r"a\.yaml cannot be read"):
        manifests.load(tmp_path)


def test_overlays_the_named_values_only() -> None:
    items = manifests.load(ROOT / "knative")
    after = by_name(manifests.with_overrides(items, {"EXTRA": "1"}, {"drift": "@every 5s"}))
    before = by_name(items)
    assert after["ConfigMap", "loop"]["data"] == {**before["ConfigMap", "loop"]["data"], "EXTRA": "1"}
    assert after["PingSource", "drift"]["spec"]["schedule"] == "@every 5s"
    changed = {("ConfigMap", "loop"), ("PingSource", "drift")}
    assert {key for key in before if before[key] != after[key]} == changed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    store = ResourceStore(tmp_path / "kube.sqlite")
    yield store
    store.close()


def test_applying_again_changes_nothing_and_keeps_the_served_version(store: ResourceStore) -> None:
    items = [*manifests.load(ROOT / "knative"), *manifests.load(ROOT / "kserve")]
    assert manifests.apply(store, items) == len(items)
    assert manifests.apply(store, items) == 0
    served = {
        "spec": {
            "predictor": {
                "model": {"storageUri": "mlflow://coding-mcqa/7"},
                "annotations": {MODEL_VERSION_ANNOTATION: "7"},
                "canaryTrafficPercent": 25,
            }
        }
    }
    store.patch("InferenceService", "coding-mcqa", served, "coding-mcqa")
    generation = store.get("InferenceService", "coding-mcqa", "coding-mcqa")["metadata"]["generation"]
    manifests.apply(store, items)
    after = store.get("InferenceService", "coding-mcqa", "coding-mcqa")
    assert after["metadata"]["generation"] == generation
    predictor = after["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == "mlflow://coding-mcqa/7"
    assert predictor["annotations"][MODEL_VERSION_ANNOTATION] == "7"
    assert predictor["canaryTrafficPercent"] == 25


def test_the_reason_of_a_refusal_is_the_apis(store: ResourceStore) -> None:
    bad = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default"},
        "spec": {"deliverey": {}},
    }
    with pytest.raises(PlatformError, match=r"Broker default: .*deliverey"):
        manifests.apply(store, [bad])
