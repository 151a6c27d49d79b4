"""What no document may have: a secret's value, a moving tag, a foreign image, privilege, a container without limits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tool import TOOL

from pipelines import drift_reference
from predictor import __version__
from tools.manifests.render import Target, as_pods, render
from tools.project import DEPLOY

ROOT = Path(__file__).resolve().parents[2]
OURS = "dev.local/coding-mcqa/"
FOREIGN = {"docker.io/library/postgres:17.6-bookworm"}


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what it is of, pod specification) of everything that containers are started from."""
    for document in as_pods(documents):
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] == "Pod":
            yield name, document["spec"]
        elif "containers" in (pod := ((document.get("spec") or {}).get("template") or {}).get("spec") or {}):
            yield name, pod


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["containers"], *(pod.get("initContainers") or ())]


def test_every_container_is_bounded_and_without_privilege(overlays) -> None:
    checked = 0
    for overlay, documents in overlays.items():
        for name, pod in pods(documents):
            where = f"{overlay}: {name}"
            assert not {"hostNetwork", "hostPID", "hostIPC"} & {key for key, value in pod.items() if value is True}, (
                where
            )
            for volume in pod.get("volumes") or ():
                assert "hostPath" not in volume, where
            for container in containers(pod):
                checked += 1
                for bound in ("requests", "limits"):
                    assert {"cpu", "memory"} <= container["resources"][bound].keys(), where
                security = container["securityContext"]
                assert security["runAsNonRoot"] is True, where
                assert security["runAsUser"] in ((999,) if "postgres" in name else (65532,)), where
                assert security["allowPrivilegeEscalation"] is False, where
                assert security["readOnlyRootFilesystem"] is True, where
                assert security["capabilities"] == {"drop": ["ALL"]}, where
                assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
                assert "privileged" not in security, where
    assert checked > 35


def test_every_long_running_container_is_probed(overlays) -> None:
    for overlay, documents in overlays.items():
        for name, pod in pods(documents):
            for container in pod["containers"]:
                if not name.startswith("Job "):
                    assert {"readinessProbe", "livenessProbe"} <= container.keys(), f"{overlay}: {name}"


def test_writable_places_are_volumes(overlays) -> None:
    """With a read-only root, what writes somewhere has a volume there: /tmp at least."""
    for overlay, documents in overlays.items():
        for name, pod in pods(documents):
            volumes = {volume["name"] for volume in pod.get("volumes") or ()}
            volumes |= {"data"} if name.startswith("StatefulSet") else set()
            for container in pod["containers"]:
                mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts") or ()}
                assert "/tmp" in mounts, f"{overlay}: {name}"
                assert set(mounts.values()) <= volumes, f"{overlay}: {name}"


def test_images_are_ours_and_pinned(overlays) -> None:
    result = {
        container["image"]
        for documents in overlays.values()
        for _, pod in pods(documents)
        for container in containers(pod)
    }
    assert {image for image in result if not image.startswith(OURS)} == FOREIGN
    ours = {image for image in result if image.startswith(OURS)}
    assert ours == {f"{OURS}{name}:{__version__}" for name in ("predictor", "functions", "pipelines", "mlflow", "ui")}


def test_no_secret_is_written(overlays) -> None:
    for documents in overlays.values():
        assert not [document for document in documents if document["kind"] == "Secret"]
        for name, pod in pods(documents):
            for container in containers(pod):
                for variable in container.get("env") or ():
                    assert not re.search("PASSWORD|SECRET|TOKEN|_KEY", variable["name"]), name
    for path in (ROOT / "deploy").rglob("*.yaml"):
        assert not re.search(r"(?i)(password|token|secret[_-]?key):\s*[\"']?[A-Za-z0-9+/]{12,}", path.read_text()), path


def test_the_namespace_is_restricted(overlays) -> None:
    for overlay, documents in overlays.items():
        for namespace in (document for document in documents if document["kind"] == "Namespace"):
            assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted", overlay


def test_names_and_priorities_fit(overlays) -> None:
    """What a pod refers to is there: priority classes, claims, configuration, budgets' pods."""
    for overlay, documents in overlays.items():
        names = {(d["kind"], d["metadata"]["name"]) for d in documents}
        specs = dict(pods(documents))
        for name, pod in specs.items():
            if priority := pod.get("priorityClassName"):
                assert ("PriorityClass", priority) in names, f"{overlay}: {name}"
            for volume in pod.get("volumes") or ():
                if claim := volume.get("persistentVolumeClaim"):
                    assert ("PersistentVolumeClaim", claim["claimName"]) in names, f"{overlay}: {name}"
                if config := volume.get("configMap"):
                    assert ("ConfigMap", config["name"]) in names, f"{overlay}: {name}"


SERVING, LOOP = "coding-mcqa-serving", "coding-mcqa-loop"
FUNCTIONS = dict.fromkeys(("collect", "drift", "rollout", "retrain", "notify", "dead-letters"), LOOP)
EVERYWHERE = {"mlflow": SERVING, "postgres": SERVING, "migrate": LOOP, "bootstrap": LOOP, "ui": LOOP}


def priorities(documents: list[dict[str, Any]]) -> dict[str, str | None]:
    """The priority class by workload."""
    result = {}
    for document in documents:
        spec = document.get("spec") or {}
        if document["kind"] == "InferenceService":
            result["predictor"] = spec["predictor"].get("priorityClassName")
        elif "containers" in (pod := (spec.get("template") or {}).get("spec") or {}):
            result[document["metadata"]["name"]] = pod.get("priorityClassName")
    return result


@pytest.mark.usefixtures("processes")
def test_what_answers_goes_before_what_learns(overlays) -> None:
    """Knative refuses the field where its feature is off, so its pods have a class only with components/scheduling."""
    on_knative = {**EVERYWHERE, **FUNCTIONS, "predictor": SERVING}
    with_scheduling = render(Target("x", DEPLOY / "minikube", DEPLOY / "components" / "scheduling"))
    assert priorities(with_scheduling) == on_knative
    assert priorities(overlays["minikube"]) == {**dict.fromkeys(on_knative), **EVERYWHERE}
    assert priorities(overlays["production"]) == {name: item for name, item in on_knative.items() if name != "postgres"}
    assert priorities(overlays["standard"]) == {name: item for name, item in on_knative.items() if name != "rollout"}
    canary = render(Target("x", DEPLOY / "standard", DEPLOY / "components" / "standard-canary"))
    (service,) = (d for d in canary if d["kind"] == "InferenceService")
    assert [item["predictor"]["priorityClassName"] for item in service["spec"]["canary"]] == [SERVING]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("overlay", ["minikube", "production", "standard"])
def test_every_account_can_pull_from_a_private_registry(overlay) -> None:
    documents = render(Target("x", DEPLOY / overlay, DEPLOY / "components" / "registry-pull"))
    accounts = [document for document in documents if document["kind"] == "ServiceAccount"]
    assert len(accounts) >= 9
    assert all(account["imagePullSecrets"] == [{"name": "registry-pull"}] for account in accounts)


def test_productions_first_version_has_the_time_it_takes(overlays) -> None:
    """The real model brings no drift reference: bootstrap measures one, and Knative must not give up before."""
    (job,) = (d for d in overlays["production"] if d["kind"] == "Job" and d["metadata"]["name"] == "bootstrap")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    # A commit: what its branch holds may change.
    assert re.fullmatch(r"--source=hf://Qwen/\S+@[0-9a-f]{40}", container["args"][0])
    assert int(container["resources"]["requests"]["cpu"]) >= 2
    seconds_a_question = 0.69  # on two cores; docs/cloud.md
    assert job["spec"]["activeDeadlineSeconds"] > 2 * drift_reference.QUESTIONS * seconds_a_question
    (service,) = (d for d in overlays["production"] if d["kind"] == "InferenceService")
    deadline = service["spec"]["predictor"]["annotations"]["serving.knative.dev/progress-deadline"]
    assert int(deadline.removesuffix("h")) * 3600 >= job["spec"]["activeDeadlineSeconds"]


@pytest.mark.usefixtures("processes")
def test_production_survives_a_node(overlays) -> None:
    documents = overlays["production"]
    budgets = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "PodDisruptionBudget"}
    assert budgets.keys() == {"predictor", "mlflow", "functions"}
    (service,) = (d for d in documents if d["kind"] == "InferenceService")
    assert len(service["spec"]["predictor"]["topologySpreadConstraints"]) == 2
    (mlflow,) = (d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "mlflow")
    assert (mlflow["spec"]["replicas"], mlflow["spec"]["strategy"]["type"]) == (2, "RollingUpdate")
    assert not [d for d in documents if d["kind"] in ("PersistentVolumeClaim", "StatefulSet")]
    three = render(Target("x", DEPLOY / "production", DEPLOY / "components" / "always-on"))
    (service,) = (d for d in three if d["kind"] == "InferenceService")
    assert service["spec"]["predictor"]["minReplicas"] == 3


@pytest.mark.usefixtures("processes")
def test_checkov_finds_nothing_that_is_not_excused() -> None:
    own = ROOT / ".cache/checkov/bin/checkov"
    program = os.environ.get("CHECKOV") or (str(own) if own.is_file() else shutil.which("checkov"))
    if not program:
        pytest.skip("checkov is not installed: make manifests-check installs it")
    environment = {**os.environ, "CHECKOV": program}
    done = subprocess.run(
        [*TOOL, "manifests-check"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-500:]
    for line in (ROOT / "deploy/checkov.yaml").read_text().splitlines():
        if "CKV" in line:
            assert re.fullmatch(r"  - CKV_[A-Z0-9_]+  # .{20,}", line), f"an exception without a reason: {line}"
    assert yaml.safe_load((ROOT / "deploy/checkov.yaml").read_text())["framework"] == ["kubernetes", "secrets"]
