"""The cluster tools' own judgements: versions, tags of images, Deployments, kinds, Secrets without a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.cluster import up
from tools.cluster.kubectl import Kubectl, ResourceType, unavailable_deployments
from tools.cluster.up import content_tag, version_numbers
from tools.process import Completed
from tools.project import pinned_versions, registry_name


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("v1.38.0", (1, 38, 0)), ("v3.20.2+gabc123", (3, 20, 2)), ("minikube 1.9.10 x", (1, 9, 10)), ("none", ())],
)
def test_versions_are_compared_as_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(text) == numbers
    assert version_numbers("1.9.0") < version_numbers("1.10.0")


def test_every_pinned_version_has_three_numbers() -> None:
    assert all(len(version_numbers(version)) == 3 for version in pinned_versions().values())


def test_a_tag_follows_the_content_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "ROOT", tmp_path)
    monkeypatch.setattr(up, "IMAGE_SOURCES", ("code", "script"))
    (tmp_path / "code/__pycache__").mkdir(parents=True)
    (tmp_path / "code/a.py").write_text("1")
    (tmp_path / "script").write_text("2")
    before = content_tag()
    (tmp_path / "code/__pycache__/a.pyc").write_text("x")
    (tmp_path / "other").write_text("x")
    assert content_tag() == before != content_tag("debian:other")
    (tmp_path / "code/a.py").rename(tmp_path / "code/b.py")
    assert content_tag() != before
    (tmp_path / "code/b.py").rename(tmp_path / "code/a.py")
    (tmp_path / "script").write_text("3")
    assert content_tag() != before


@pytest.mark.parametrize(
    ("replicas", "available", "missing"), [(1, 1, False), (2, 1, True), (1, None, True), (0, None, False)]
)
def test_deployments_that_lack_pods(replicas: int, available: int | None, missing: bool) -> None:
    status = {} if available is None else {"availableReplicas": available}
    item = {"metadata": {"name": "x"}, "spec": {"replicas": replicas}, "status": status}
    assert unavailable_deployments(json.dumps({"items": [item]})) == (["x"] if missing else [])
    assert unavailable_deployments("") == []


@pytest.mark.parametrize(
    ("kind", "served"),
    [
        (ResourceType("v1", "Secret"), True),
        (ResourceType("v1", "Sacret"), False),
        (ResourceType("monitoring.coreos.com/v1", "PodMonitor"), True),
        (ResourceType("monitoring.coreos.com/v2", "PodMonitor"), False),
        (ResourceType("gone.example.com/v1", "Thing"), False),
    ],
)
def test_kinds_are_found_by_discovery(kind: ResourceType, served: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "/apis": {"groups": [{"versions": [{"groupVersion": "monitoring.coreos.com/v1"}]}]},
        "/api/v1": {"resources": [{"kind": "Secret"}]},
        "/apis/monitoring.coreos.com/v1": {"resources": [{"kind": "PodMonitor"}]},
    }
    kubectl = Kubectl()
    monkeypatch.setattr(kubectl, "output", lambda *words: json.dumps(answers[words[-1]]))
    assert kubectl.serves(kind) is served


def test_kubectl_may_be_several_words_and_find_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = Kubectl(["minikube", "kubectl", "--"])
    assert (kubectl.program, str(kubectl)) == ("minikube", "minikube kubectl --")
    assert kubectl.words("get", "x") == ["minikube", "kubectl", "--", "get", "x"]
    monkeypatch.setattr(kubectl, "attempt", lambda *words: Completed(words, 1, "", "not found"))
    assert kubectl.find("secret", "x") is None


def test_registries_have_no_capitals() -> None:
    assert registry_name("ghcr.io/Acme/Coding-MCQA") == "ghcr.io/acme/coding-mcqa"
