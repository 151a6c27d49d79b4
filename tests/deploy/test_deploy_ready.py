"""What `make deploy` waits for: each object's readiness, and the loop around it."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tool import ROOT, TOOL

from tools.cluster.kubectl import ResourceType
from tools.cluster.leftovers import COMPONENTS, KEPT, leftovers
from tools.cluster.readiness import WillNotBecomeReadyError, not_ready
from tools.manifests.render import Target, render
from tools.project import DEPLOY

pytestmark = pytest.mark.usefixtures("processes")

Object = dict[str, Any]


def item(api: str, kind: str, name: str, status: Object, **more: Any) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "generation": 2}, "status": status, **more}


def ready(status: str = "True", **more: Any) -> Object:
    condition = {"type": "Ready", "status": status, "reason": "RevisionFailed", "message": "no such image"}
    return {"observedGeneration": 2, "conditions": [condition], **more}


def template(image: str = "predictor:1", version: str = "3") -> Object:
    annotations = {"coding-mcqa/model-version": version}
    containers = [{"name": "kserve-container", "image": image}, {"name": "agent", "image": "agent:9"}]
    return {"replicas": 2, "template": {"metadata": {"annotations": annotations}, "spec": {"containers": containers}}}


ROLLED_OUT = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
FUNCTION = item("serving.knative.dev/v1", "Service", "drift", ready())
TRIGGER = item("eventing.knative.dev/v1", "Trigger", "drift", ready())
MLFLOW = item("apps/v1", "Deployment", "mlflow", ROLLED_OUT, spec=template())
DONE = {"conditions": [{"type": "Complete", "status": "True"}]}
JOB = item("batch/v1", "Job", "bootstrap", DONE)
SET = item("apps/v1", "StatefulSet", "postgres", {**ROLLED_OUT, "readyReplicas": 2}, spec=template())
CACHE = item("serving.kserve.io/v1alpha1", "LocalModelCache", "m-3", {"copies": {"total": 2, "available": 2}})
RUNTIME = item("serving.kserve.io/v1alpha1", "ServingRuntime", "coding-mcqa", {}, spec=template()["template"]["spec"])
MODEL = item(
    "serving.kserve.io/v1beta1", "InferenceService", "coding-mcqa", ready(observedGeneration=7),
    spec={"predictor": {"annotations": {"coding-mcqa/model-version": "3"}, "model": {"runtime": "coding-mcqa"}}},
)  # fmt: skip
SERVICE = item("serving.knative.dev/v1", "Service", "coding-mcqa-predictor", ready(), spec=template())
PODS = item("apps/v1", "Deployment", "coding-mcqa-predictor", ROLLED_OUT, spec=template())
ALL = [MODEL, RUNTIME, FUNCTION, TRIGGER, MLFLOW, JOB, SET, CACHE, item("v1", "Service", "mlflow", {})]


def missing(live: list[Object], serving: list[Object]) -> list[str]:
    return [str(item) for item in not_ready(live, serving)]


def changed(one: Object, **more: Any) -> Object:
    one = copy.deepcopy(one)
    for path, value in more.items():
        *keys, last = path.split("__")
        target = one
        for key in keys:
            target = target[key]
        target[last] = value
    return one


@pytest.mark.parametrize("behind", [SERVICE, PODS], ids=["knative", "standard"])
def test_all_is_ready(behind) -> None:
    """Though the InferenceService's observedGeneration is not its own generation: KServe copies another object's."""
    assert list(missing(ALL, [behind])) == []


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (changed(FUNCTION, status=ready("False")), "function drift: RevisionFailed no such image"),
        (changed(FUNCTION, status={}), "function drift: not ready yet"),
        (changed(FUNCTION, metadata__generation=3), "function drift: the change was not seen yet"),
        (changed(TRIGGER, status=ready("Unknown")), "Trigger drift: RevisionFailed no such image"),
        (changed(MLFLOW, metadata__generation=3), "Deployment mlflow: the change was not seen yet"),
        (changed(MLFLOW, status={}), "Deployment mlflow: 0 of 2 pods are of the new version"),
        (changed(MLFLOW, status__updatedReplicas=1), "Deployment mlflow: 1 of 2 pods are of the new version"),
        (changed(MLFLOW, status__replicas=3), "Deployment mlflow: pods of the old version are still there"),
        (changed(MLFLOW, status__availableReplicas=1), "Deployment mlflow: 1 of 2 pods are ready"),
        (changed(SET, status__readyReplicas=0), "StatefulSet postgres: 0 of 2 pods are ready"),
        (changed(JOB, status={}), "Job bootstrap: has not ended yet"),
        (changed(CACHE, status={}), "LocalModelCache m-3: 0 of 0 nodes have it"),
        (changed(CACHE, status__copies={"total": 2, "available": 1}), "LocalModelCache m-3: 1 of 2 nodes have it"),
        (
            changed(CACHE, status__copies={"total": 1, "failed": 1}),
            "LocalModelCache m-3: 0 of 1 nodes have it: kubectl logs --namespace kserve-localmodel-jobs "
            "--selector model=m-3",
        ),
        (changed(MODEL, status=ready("False")), "model: RevisionFailed no such image"),
    ],
)
def test_what_is_not_ready(one, line) -> None:
    assert list(
        missing([*(other for other in ALL if other["metadata"] != one["metadata"]), one, RUNTIME], [SERVICE])
    ) == [line]


@pytest.mark.parametrize(
    ("behind", "line"),
    [
        ([], "model: KServe has not made coding-mcqa-predictor yet"),
        ([changed(SERVICE, metadata__generation=3)], "model: coding-mcqa-predictor: the change was not seen yet"),
        ([changed(SERVICE, spec=template(version="2"))], "model: KServe has not passed the version on yet"),
        ([changed(SERVICE, spec=template(image="predictor:0"))], "model: KServe has not passed the new image on yet"),
        ([changed(PODS, spec=template(image="predictor:0"))], "model: KServe has not passed the new image on yet"),
        (
            [changed(PODS, status__updatedReplicas=0)],
            "model: coding-mcqa-predictor: 0 of 2 pods are of the new version",
        ),
    ],
)
def test_what_is_behind_the_model_is_not_ready(behind, line) -> None:
    assert list(missing(ALL, behind)) == [line]


def test_a_job_that_failed_is_not_waited_for() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    with pytest.raises(WillNotBecomeReadyError, match="Job bootstrap: BackoffLimitExceeded: kubectl logs"):
        list(missing([changed(JOB, status={"conditions": [failed]})], []))


GROUPS = {"groups": [{"versions": [{"groupVersion": "monitoring.coreos.com/v1"}]}]}
RESOURCES = {"resources": [{"kind": "PrometheusRule"}]}


def deploy(folder: Path, answers: list[list[Object]], **environment: str) -> subprocess.CompletedProcess[str]:
    """`make deploy` with a cluster that gives one answer after another about what was applied, the last one again."""
    for number, objects in enumerate(answers):
        (folder / f"live-{number}").write_text(json.dumps({"kind": "List", "items": objects}))
    (folder / "behind").write_text(json.dumps(SERVICE))
    kubectl = folder / "kubectl"
    kubectl.write_text(
        f"""#!/usr/bin/env bash
        cd {folder}
        echo "$*" >>calls
        case "$*" in
            kustomize*) cd {ROOT} && exec kubectl "$@" ;;
            apply*) cat >/dev/null; echo 'service/x created' ;;
            'get --filename'*)
                n=$(cat asked 2>/dev/null || echo 0)
                [ ! -f live-$((n + 1)) ] || echo $((n + 1)) >asked
                cat live-$n ;;
            *'get services.serving.knative.dev'*) cat behind ;;
            'get namespace kubeflow') exit 1 ;;
            'get namespace coding-mcqa '*) echo "coding-mcqa $(cat components 2>/dev/null)" ;;
            'annotate namespace coding-mcqa '*) all=$*; echo "${{all##*coding-mcqa/components=}}" >components ;;
            'get --raw /apis') echo '{json.dumps(GROUPS)}' ;;
            'get --raw /apis/monitoring.coreos.com/v1') echo '{json.dumps(RESOURCES)}' ;;
            'delete PodMonitor'*) echo 'error: the server does not have a resource type "PodMonitor"' >&2; exit 1 ;;
            'delete PrometheusRule'*) exec cat refusal >&2 ;;
        esac
        """
    )
    kubectl.chmod(0o755)
    return subprocess.run(
        [*TOOL, "deploy", "minikube"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECTL": str(kubectl), **environment},
    )  # fmt: skip


def test_deploy_waits_and_says_for_what(tmp_path) -> None:
    first = [changed(FUNCTION, status={}), *(item for item in ALL if item is not FUNCTION)]
    done = deploy(tmp_path, [first, ALL])
    assert done.returncode == 0, done.stderr
    assert next(line for line in done.stdout.splitlines() if "waits for" in line).endswith("waits for function drift")
    assert "ready: " in done.stdout


def test_deploy_fails_with_what_is_not_ready(tmp_path) -> None:
    broken = [changed(FUNCTION, status=ready("False")), MODEL, RUNTIME]
    done = deploy(tmp_path, [broken], WAIT="1")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "  function drift: RevisionFailed no such image"
    assert lines[1].startswith("deploy: the above is not ready after")


def test_deploy_leaves_a_version_that_is_an_image_alone(tmp_path) -> None:
    """The rollout function would bring back what it knows; its Trigger stays in the cluster until it is deleted."""
    done = deploy(tmp_path, [ALL], COMPONENTS="modelcar registry-pull", WAIT="0")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    assert "delete triggers.eventing.knative.dev rollout --namespace coding-mcqa --ignore-not-found" in calls
    assert "get secret registry-pull --namespace coding-mcqa" in calls


def test_what_components_brought_goes_with_them(tmp_path) -> None:
    """Above all the Ingress: its login goes."""
    for components in ("mlflow-ingress external-secrets", "external-secrets mlflow-ingress", ""):
        (tmp_path / "calls").unlink(missing_ok=True)
        done = deploy(tmp_path, [ALL], COMPONENTS=components, WAIT="0")
        assert done.returncode == 0, done.stderr
        deleted = re.findall(r"^delete ([A-Z]\S+ \S+)", (tmp_path / "calls").read_text(), re.MULTILINE)
        # A Secret would go with its ExternalSecret.
        gone = ["Ingress.v1.networking.k8s.io mlflow", "NetworkPolicy.v1.networking.k8s.io mlflow-ingress"]
        assert deleted == ([] if components else gone)
        lines = [] if components else ["takes back Ingress mlflow", "takes back NetworkPolicy mlflow-ingress"]
        assert re.findall("takes back .*", done.stdout) == lines
        assert (tmp_path / "components").read_text().split() == components.split()


def test_what_cannot_be_deleted_is_tried_again(tmp_path) -> None:
    """A kind that is gone is no hindrance."""
    assert deploy(tmp_path, [ALL], COMPONENTS="monitoring", WAIT="0").returncode == 0
    done = deploy(tmp_path, [ALL], COMPONENTS="disruption", WAIT="0")
    assert (done.returncode, done.stdout.count("takes back")) == (1, 4)
    assert "predictor, of a component that is not named any more, stays: cat: refusal" in done.stderr
    assert set((tmp_path / "components").read_text().split()) == {"monitoring", "disruption"}
    (tmp_path / "refusal").touch()
    done = deploy(tmp_path, [ALL], COMPONENTS="disruption", WAIT="0")
    assert (done.returncode, done.stdout.count("takes back")) == (0, 4), done.stderr
    assert (tmp_path / "components").read_text() == "disruption\n"


def test_leftovers_are_what_components_add() -> None:
    """Patches are nobody's objects."""
    for folder in COMPONENTS.iterdir():
        resources = yaml.safe_load((folder / "kustomization.yaml").read_text()).get("resources", ())
        files = [folder / name for name in resources if (folder / name).is_file()]
        wanted = [item for file in files for item in yaml.safe_load_all(file.read_text())]
        if folder.name == "monitoring":
            wanted += render(Target("x", folder / "../../compose/grafana"))
        expected = {(item["apiVersion"], item["kind"], item["metadata"]["name"]) for item in wanted}
        brought = {(kind.api_version, kind.kind, name) for kind, name in leftovers([folder.name], [])}
        assert brought == (set() if folder.name == KEPT else expected), folder.name
    policy = ResourceType("networking.k8s.io/v1", "NetworkPolicy")
    assert str(policy) == "NetworkPolicy.v1.networking.k8s.io"
    assert str(ResourceType("v1", "Secret")) == "Secret.v1."
    assert (policy, "to-s3") in leftovers(["s3"], [])
    assert (policy, "to-s3") not in leftovers(["s3"], render(Target("production", DEPLOY / "production")))
