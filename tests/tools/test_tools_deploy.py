"""What `make deploy` writes into a kustomization, as data: no cluster is asked."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tools.cluster.deploy import Deployment, keep_serving, kustomization, restart_on_change, shorten

WANTED = Deployment("minikube", "r.example.com/team", "9", ("gpu", "always-on"), "kubeflow", 900)


def service(**predictor: Any) -> dict[str, Any]:
    return {"spec": {"predictor": predictor}}


def operations(patches: list[dict[str, Any]]) -> dict[str, Any]:
    (patch,) = patches
    assert patch["target"] == {"kind": "InferenceService", "name": "coding-mcqa"}
    return {operation["path"]: (operation["op"], operation["value"]) for operation in yaml.safe_load(patch["patch"])}


def test_the_overlay_its_components_and_images() -> None:
    content = kustomization(WANTED)
    assert content["resources"] == ["../minikube"]
    assert content["components"] == ["../components/gpu", "../components/always-on"]
    assert {image["name"]: (image["newName"], image["newTag"]) for image in content["images"]} == {
        f"dev.local/coding-mcqa/{name}": (f"r.example.com/team/{name}", "9")
        for name in ("predictor", "functions", "pipelines", "mlflow", "ui")
    }
    untagged = kustomization(Deployment("minikube", "r", "", (), "kubeflow", 0))
    assert not any("newTag" in image for image in untagged["images"])


@pytest.mark.parametrize("tag", ["0.10", "1e3", "null", "yes", '"; rm -rf / #', "a: b"])
def test_a_tag_stays_the_string_that_it_is(tag: str) -> None:
    content = yaml.safe_load(yaml.safe_dump(kustomization(Deployment("minikube", "r", tag, (), "kubeflow", 0))))
    assert {image["newTag"] for image in content["images"]} == {tag}


@pytest.mark.parametrize(("current"), [None, {}, service(), service(model={})])
def test_where_nothing_serves_nothing_is_kept(current: dict[str, Any] | None) -> None:
    assert keep_serving(current) == []


def test_the_version_and_share_that_serve_are_kept() -> None:
    uri, version = "mlflow://coding-mcqa/7", "/spec/predictor/annotations/coding-mcqa~1model-version"
    model = {"storageUri": uri}
    assert operations(keep_serving(service(model=model))) == {"/spec/predictor/model/storageUri": ("replace", uri)}
    annotations = {"coding-mcqa/model-version": "7"}
    patches = keep_serving(service(model=model, annotations=annotations, canaryTrafficPercent=0))
    assert operations(patches) == {
        "/spec/predictor/model/storageUri": ("replace", uri),
        version: ("replace", "7"),
        "/spec/predictor/canaryTrafficPercent": ("add", 0),
    }


def test_a_checksum_changes_with_the_settings_alone() -> None:
    def checksums(settings: str) -> set[str]:
        patches = [yaml.safe_load(patch["patch"]) for patch in restart_on_change(settings)]
        return {patch["spec"]["template"]["metadata"]["annotations"]["coding-mcqa/settings"] for patch in patches}

    assert len(checksums("a")) == 1
    assert checksums("a") == checksums("a") != checksums("b")


def test_many_names_are_shortened() -> None:
    assert shorten(["a", "b"]) == "a, b"
    assert shorten(list("abcdef")) == "a, b, c, d and 2 more"
