"""What each ServiceAccount may ask of the Kubernetes API, against what the functions really ask."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tools.manifests.render import Target, render
from tools.project import DEPLOY

ROOT = Path(__file__).resolve().parents[2]
ISVC, KNATIVE = "serving.kserve.io", "serving.knative.dev"


def allowed(documents: list[dict[str, Any]], account: str, verb: str, group: str, resource: str, name: str) -> bool:
    """As Kubernetes' RBAC decides in one namespace: any rule of any Role bound to the account."""
    bound = {
        document["roleRef"]["name"]
        for document in documents
        if document["kind"] == "RoleBinding"
        for subject in document["subjects"]
        if (subject["kind"], subject["name"], subject["namespace"]) == ("ServiceAccount", account, "coding-mcqa")
    }
    rules = [rule for d in documents if d["kind"] == "Role" and d["metadata"]["name"] in bound for rule in d["rules"]]
    return any(
        verb in rule["verbs"]
        and group in rule["apiGroups"]
        and resource in rule["resources"]
        and ("resourceNames" not in rule or (name != "" and name in rule["resourceNames"]))
        for rule in rules
    )


CALLS = [
    # functions/rollout/inference_service.py: InferenceServiceClient.observe, .patch
    ("get", ISVC, "inferenceservices", "coding-mcqa", True),
    ("patch", ISVC, "inferenceservices", "coding-mcqa", True),
    ("get", KNATIVE, "services", "coding-mcqa-predictor", True),
    ("get", KNATIVE, "revisions", "coding-mcqa-predictor-00007", True),
    # nothing else
    ("get", ISVC, "inferenceservices", "another", False),
    ("patch", ISVC, "inferenceservices", "another", False),
    ("list", ISVC, "inferenceservices", "", False),
    ("watch", ISVC, "inferenceservices", "", False),
    ("create", ISVC, "inferenceservices", "", False),
    ("update", ISVC, "inferenceservices", "coding-mcqa", False),
    ("delete", ISVC, "inferenceservices", "coding-mcqa", False),
    ("patch", ISVC, "inferenceservices/status", "coding-mcqa", False),
    ("get", ISVC, "servingruntimes", "coding-mcqa", False),
    ("get", KNATIVE, "services", "collect", False),
    ("patch", KNATIVE, "services", "coding-mcqa-predictor", False),
    ("list", KNATIVE, "revisions", "", False),
    ("delete", KNATIVE, "revisions", "coding-mcqa-predictor-00007", False),
    ("get", "", "secrets", "loop", False),
    ("get", "", "configmaps", "loop", False),
    ("create", "", "pods", "", False),
    ("get", "", "services", "coding-mcqa-predictor", False),
]


PAGE_READS = [
    (ISVC, "inferenceservices"), (KNATIVE, "services"), (KNATIVE, "revisions"), ("eventing.knative.dev", "brokers"),
    ("eventing.knative.dev", "triggers"), ("apps", "deployments"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "group", "resource", "name", "expected"), CALLS)
def test_rollout_may(overlays, verb, group, resource, name, expected) -> None:
    for overlay in ("minikube", "production"):
        assert allowed(overlays[overlay], "rollout", verb, group, resource, name) is expected


def test_the_table_names_what_the_code_asks() -> None:
    """Every kind that serving.py declares and every verb that it uses is in the table as allowed, and no other."""
    code = (ROOT / "functions/rollout/inference_service.py").read_text()
    kinds = {
        (group, plural)
        for group, plural in re.findall(r'namespaced_resource\(\s*"([^"]+)", "[^"]+", "[^"]+", "([^"]+)"', code)
    }
    verbs = set(re.findall(r"client\.(get|list|patch|create|delete|replace|apply|watch)\(", code))
    granted = [call for call in CALLS if call[-1]]
    assert {(group, resource) for _, group, resource, _, _ in granted} == kinds
    assert {verb for verb, *_ in granted} == verbs
    others = [path for path in (ROOT / "functions").rglob("*.py") if "lightkube" in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in others] == ["functions/rollout/inference_service.py"]


def test_the_page_may_read_and_no_more(overlays) -> None:
    """What operators decide on it goes to the database and the Broker."""
    for name in ("minikube", "production", "standard"):
        (role,) = (d for d in overlays[name] if d["kind"] == "Role" and d["metadata"]["name"] == "ui")
        for group, resource in PAGE_READS:
            for verb in ("get", "list"):
                assert allowed(overlays[name], "ui", verb, group, resource, "x")
            for verb in ("watch", "create", "update", "patch", "delete"):
                assert not allowed(overlays[name], "ui", verb, group, resource, "x")
        granted = {(group, item) for rule in role["rules"] for group in rule["apiGroups"] for item in rule["resources"]}
        assert granted == set(PAGE_READS)


def test_nobody_else_has_rights_or_a_token(overlays) -> None:
    for name, documents in overlays.items():
        assert not [d for d in documents if d["kind"] in ("ClusterRole", "ClusterRoleBinding")]
        subjects = {s["name"] for d in documents if d["kind"] == "RoleBinding" for s in d["subjects"]}
        tokens = {
            d["metadata"]["name"]
            for d in documents
            if d["kind"] == "ServiceAccount" and d["automountServiceAccountToken"] is not False
        }
        expected = {"tracking": set(), "standard": {"ui"}}.get(name, {"rollout", "ui"})
        assert subjects == tokens == expected


def test_every_workload_has_an_account_of_its_own(overlays) -> None:
    for documents in overlays.values():
        accounts = {d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"}
        used = []
        for document in documents:
            spec = document.get("spec") or {}
            if document["kind"] == "InferenceService":
                used.append(spec["predictor"]["serviceAccountName"])
            elif "containers" in (pod := (spec.get("template") or {}).get("spec") or {}):
                used.append(pod["serviceAccountName"])
        assert sorted(used) == sorted(accounts)


@pytest.mark.parametrize(("kind", "name"), [("Service", "retrain"), ("Deployment", "ui")])
def test_two_have_a_token_for_kubeflow_pipelines_alone(minikube, kind, name) -> None:
    from common.kubeflow import TOKEN_PATH

    (workload,) = (d for d in minikube if d["kind"] == kind and d["metadata"]["name"] == name)
    pod = workload["spec"]["template"]["spec"]
    (volume,) = (item for item in pod["volumes"] if "projected" in item)
    (token,) = (source["serviceAccountToken"] for source in volume["projected"]["sources"])
    assert token["audience"] == "pipelines.kubeflow.org"
    (mount,) = (item for item in pod["containers"][0]["volumeMounts"] if item["name"] == volume["name"])
    (config,) = (d for d in minikube if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "loop")
    assert f"{mount['mountPath']}/{token['path']}" == TOKEN_PATH == config["data"]["MCQA_KFP_TOKEN_PATH"]
    having = {d["metadata"]["name"] for d in minikube if "'serviceAccountToken'" in str(d)}
    assert having == {"retrain", "ui"}


@pytest.mark.usefixtures("processes")
def test_the_event_policy_names_everybody_who_sends() -> None:
    documents = render(Target("x", DEPLOY / "minikube", DEPLOY / "components/event-policy"))
    (policy,) = (d for d in documents if d["kind"] == "EventPolicy")
    timers = {d["metadata"]["name"] for d in documents if d["kind"] == "PingSource"}
    assert len(timers) >= 5
    assert sorted(item["ref"]["name"] for item in policy["spec"]["from"] if "ref" in item) == sorted(timers)
    handlers = (ROOT / "functions").glob("*/handler.py")
    functions = {path.parent.name for path in handlers if "from functions.sink import" in path.read_text()}
    logging = {d["spec"]["predictor"]["serviceAccountName"] for d in documents if "logger" in str(d.get("spec"))}
    senders = {f"coding-mcqa:{name}" for name in functions | logging} | {"kubeflow:pipeline-runner"}
    subjects = [item["sub"].removeprefix("system:serviceaccount:") for item in policy["spec"]["from"] if "sub" in item]
    assert sorted(subjects) == sorted(senders)
    accounts = {d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"}
    assert functions | logging <= accounts
