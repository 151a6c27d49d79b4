"""NetworkPolicies by a table of who may talk to whom; names and ports in the manifests against the code."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.platform.environment import addresses
from local.platform.settings import Settings
from tools.manifests.render import Target, render
from tools.project import DEPLOY

ROOT = Path(__file__).resolve().parents[2]
HERE = "coding-mcqa"


@dataclass(frozen=True)
class Peer:
    """A pod by its namespace and labels, or a machine by its address. `around`: more labels of the namespace."""

    namespace: str = HERE
    labels: dict[str, str] = field(default_factory=dict)
    address: str = ""
    around: dict[str, str] = field(default_factory=dict)


def function(name: str) -> Peer:
    return Peer(labels={"app.kubernetes.io/name": name, "coding-mcqa/role": "function"})


def named(name: str) -> Peer:
    return Peer(labels={"app.kubernetes.io/name": name})


PREDICTOR = Peer(labels={"app.kubernetes.io/name": "predictor", "serving.kserve.io/inferenceservice": "coding-mcqa"})
MIGRATE = Peer(labels={"app.kubernetes.io/name": "migrate", "coding-mcqa/role": "migrate"})
MLFLOW, POSTGRES, BOOTSTRAP, UI = named("mlflow"), named("postgres"), named("bootstrap"), named("ui")
CONTROLLER = Peer("ingress-nginx")
GATEWAY, ACTIVATOR = Peer("kourier-system"), Peer("knative-serving", {"app": "activator"})
BROKER, DNS, STRANGER = Peer("knative-eventing"), Peer("kube-system"), Peer("default")
PIPELINES = Peer("kubeflow", {"app": "ml-pipeline"})
STEP = Peer("kubeflow", {"pipelines.kubeflow.org/v2_component": "true"})
IN_PROFILE = Peer("ann", STEP.labels, around={"coding-mcqa/steps": "true"})
ANOTHERS = Peer("bob", STEP.labels)
RESOLVERS = [Peer("", address="169.254.20.10"), Peer("", address="169.254.169.254")]
CACHE_JOB = Peer("kserve-localmodel-jobs")
INTERNET, PRIVATE = Peer("", address="93.184.215.14"), Peer("", address="10.0.0.7")


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions") or ():
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())


def meant(peer: dict[str, Any], who: Peer) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if not who.address or ipaddress.ip_address(who.address) not in ipaddress.ip_network(block["cidr"]):
            return False
        out = [ipaddress.ip_network(item) for item in block.get("except") or ()]
        return not any(ipaddress.ip_address(who.address) in item for item in out)
    if who.address:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": who.namespace, **who.around}):
            return False
    elif who.namespace != HERE:
        return False
    return selects(peer.get("podSelector") or {}, who.labels)


def passes(policies: list[dict[str, Any]], direction: str, pod: Peer, other: Peer, port: int) -> bool:
    """One direction of Kubernetes' rule: what no policy isolates is open; else any rule of any policy opens it."""
    if pod.namespace != HERE:
        return True
    mine = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    side, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    rules = [rule for spec in mine for rule in spec.get(side) or ()]
    return not mine or any(
        ("ports" not in rule or port in [item["port"] for item in rule["ports"]])
        and (peers not in rule or any(meant(peer, other) for peer in rule[peers]))
        for rule in rules
    )


def reaches(documents: list[dict[str, Any]], source: Peer, target: Peer, port: int) -> bool:
    policies = [document for document in documents if document["kind"] == "NetworkPolicy"]
    return passes(policies, "Egress", source, target, port) and passes(policies, "Ingress", target, source, port)


FUNCTIONS = ("collect", "drift", "rollout", "retrain", "notify", "dead-letters")
PAGE = [  # on every overlay
    *((other, UI, 8501, False) for other in (STRANGER, CONTROLLER, GATEWAY, PREDICTOR, MLFLOW, function("collect"))),
    (UI, MLFLOW, 5000, True),
    (UI, BROKER, 8080, True),
    (UI, PIPELINES, 8888, True),
    (UI, DNS, 53, True),
    (UI, PRIVATE, 6443, True),  # the Kubernetes API
    (UI, INTERNET, 443, True),  # the sign-in's provider
    (UI, INTERNET, 80, False),
    (UI, PRIVATE, 5000, False),
    (UI, function("rollout"), 8012, False),
]
ON_KNATIVE = [
    (UI, GATEWAY, 8081, True),
    (UI, PREDICTOR, 8012, False),
    *((GATEWAY, function(name), 8012, True) for name in FUNCTIONS),
    *((ACTIVATOR, function(name), 8012, True) for name in FUNCTIONS),
    *((function(name), where, 53, True) for name in FUNCTIONS for where in (DNS, *RESOLVERS)),
    *((function(name), where, 80, False) for name in FUNCTIONS for where in RESOLVERS),
    *((STRANGER, function(name), 8012, False) for name in FUNCTIONS),
    *((function(name), function("rollout"), 8012, False) for name in FUNCTIONS),
    *((MLFLOW, function(name), port, False) for name in FUNCTIONS for port in (8012, 8080)),
    (GATEWAY, PREDICTOR, 8012, True),
    (ACTIVATOR, PREDICTOR, 8012, True),
    (PREDICTOR, MLFLOW, 5000, True),
    (PREDICTOR, BROKER, 8080, True),
    (PREDICTOR, INTERNET, 443, False),
    (PREDICTOR, PRIVATE, 443, False),
    (STRANGER, PREDICTOR, 8080, False),
    *((function(name), BROKER, 8080, True) for name in ("drift", "rollout", "retrain")),
    *((function(name), MLFLOW, 5000, True) for name in ("drift", "rollout", "retrain")),
    *((function(name), MLFLOW, 5000, False) for name in ("collect", "notify", "dead-letters")),
    (BOOTSTRAP, MLFLOW, 5000, True),
    (BOOTSTRAP, INTERNET, 443, False),
    (STEP, MLFLOW, 5000, True),
    (IN_PROFILE, MLFLOW, 5000, True),
    (ANOTHERS, MLFLOW, 5000, False),
    (Peer("ann", around=IN_PROFILE.around), MLFLOW, 5000, False),
    (CACHE_JOB, MLFLOW, 5000, False),
    (PIPELINES, MLFLOW, 5000, False),
    (STRANGER, MLFLOW, 5000, False),
    (GATEWAY, MLFLOW, 5000, False),
    # MLflow calls any webhook: its way out is the gateway, behind which the rollout function is, and nothing private.
    (MLFLOW, GATEWAY, 8081, True),
    (MLFLOW, PREDICTOR, 8080, False),
    (MLFLOW, PRIVATE, 80, False),
    (MLFLOW, PRIVATE, 443, False),
    (MLFLOW, Peer("", address="169.254.169.254"), 80, False),
    (function("rollout"), PRIVATE, 6443, True),
    *((function(name), PRIVATE, 6443, False) for name in FUNCTIONS if name != "rollout"),
    (function("retrain"), PIPELINES, 8888, True),
    (function("drift"), PIPELINES, 8888, False),
    (function("notify"), INTERNET, 443, True),
    (function("notify"), PRIVATE, 443, False),
    (function("collect"), INTERNET, 443, False),
]
POSTGRES_HERE = [
    *((function(name), POSTGRES, 5432, True) for name in FUNCTIONS),
    (MIGRATE, POSTGRES, 5432, True),
    (UI, POSTGRES, 5432, True),
    (MLFLOW, POSTGRES, 5432, True),
    (STEP, POSTGRES, 5432, True),
    (IN_PROFILE, POSTGRES, 5432, True),
    (ANOTHERS, POSTGRES, 5432, False),
    (BOOTSTRAP, POSTGRES, 5432, False),
    (PREDICTOR, POSTGRES, 5432, False),
    (STRANGER, POSTGRES, 5432, False),
    (POSTGRES, INTERNET, 443, False),
]
OUTSIDE = [
    *((function(name), PRIVATE, 5432, True) for name in FUNCTIONS),
    (MLFLOW, PRIVATE, 5432, True),
    (UI, PRIVATE, 5432, True),
    (MLFLOW, INTERNET, 443, True),  # S3
    (BOOTSTRAP, INTERNET, 443, True),  # the first version's files
    (BOOTSTRAP, PRIVATE, 443, False),
    (PREDICTOR, PRIVATE, 5432, False),
]
IN_STANDARD = [
    *((BROKER, function(name), 8080, True) for name in FUNCTIONS if name != "rollout"),
    *((STRANGER, function(name), 8080, False) for name in FUNCTIONS),
    (GATEWAY, function("collect"), 8080, False),
    (UI, PREDICTOR, 8080, True),
    (UI, PREDICTOR, 9081, True),
    (UI, function("collect"), 8080, False),
    *((Peer("envoy-gateway-system"), PREDICTOR, port, True) for port in (8080, 8081, 9081)),
    *((STRANGER, PREDICTOR, port, False) for port in (8080, 8081, 9081)),
    (MLFLOW, GATEWAY, 8081, False),
    (MLFLOW, function("collect"), 8080, False),
    (function("retrain"), PIPELINES, 8888, True),
]


@pytest.mark.parametrize(
    ("overlay", "table"),
    [
        ("minikube", [*PAGE, *ON_KNATIVE, *POSTGRES_HERE]),
        # There S3 and the first version's source are public addresses.
        ("production", [*PAGE, *(row for row in ON_KNATIVE if (*row[:3], True) not in OUTSIDE), *OUTSIDE]),
        ("standard", [*PAGE, *IN_STANDARD, *POSTGRES_HERE]),
    ],
    ids=["minikube", "production", "standard"],
)
def test_who_may_talk_to_whom(overlays, overlay, table) -> None:
    for source, target, port, expected in table:
        assert reaches(overlays[overlay], source, target, port) is expected, (source, target, port)


@pytest.mark.usefixtures("processes")
def test_the_jobs_of_the_model_cache_reach_the_registry() -> None:
    documents = render(Target("x", DEPLOY / "minikube", DEPLOY / "components/local-model-cache"))
    assert reaches(documents, CACHE_JOB, MLFLOW, 5000)
    assert not reaches(documents, CACHE_JOB, POSTGRES, 5432)
    assert not reaches(documents, STRANGER, MLFLOW, 5000)


@pytest.mark.usefixtures("processes")
def test_the_ingress_controller_reaches_mlflow_with_its_component_alone(minikube) -> None:
    controller = CONTROLLER
    assert not reaches(minikube, controller, MLFLOW, 5000)
    documents = render(Target("x", DEPLOY / "minikube", DEPLOY / "components/mlflow-ingress"))
    assert reaches(documents, controller, MLFLOW, 5000)
    for other in (PREDICTOR, POSTGRES, function("rollout")):
        assert not reaches(documents, controller, other, 5432 if other is POSTGRES else 8012)
    assert not reaches(documents, STRANGER, MLFLOW, 5000)
    assert not reaches(documents, MLFLOW, PRIVATE, 443)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("overlay", ["minikube", "production", "standard"])
def test_the_ingress_controller_reaches_the_page_with_its_component_alone(overlay) -> None:
    documents = render(Target("x", DEPLOY / overlay, DEPLOY / "components/ui-ingress"))
    assert reaches(documents, CONTROLLER, UI, 8501)
    for other, port in ((PREDICTOR, 8012), (POSTGRES, 5432), (MLFLOW, 5000)):
        assert not reaches(documents, CONTROLLER, other, port)
    assert not reaches(documents, STRANGER, UI, 8501)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("overlay", ["minikube", "production", "standard"])
def test_only_prometheus_reads_the_model_servers_metrics(overlay) -> None:
    documents = render(Target("x", DEPLOY / overlay, DEPLOY / "components/monitoring"))
    prometheus = Peer("monitoring", {"app.kubernetes.io/name": "prometheus"})
    assert reaches(documents, prometheus, PREDICTOR, 8080)
    assert not reaches(documents, prometheus, PREDICTOR, 8012)
    assert not reaches(documents, prometheus, MLFLOW, 5000)
    for other in (Peer("monitoring", {"app.kubernetes.io/name": "grafana"}), Peer("default", prometheus.labels)):
        assert not reaches(documents, other, PREDICTOR, 8080)


def config(documents: list[dict[str, Any]], name: str = "loop") -> dict[str, str]:
    (result,) = (d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] == name)
    return result["data"]


def test_cluster_names_are_services(overlays) -> None:
    """Every name below .svc.cluster.local is a Service here, with that port, or one that another system has."""
    elsewhere = {
        "broker-ingress.knative-eventing": {80},
        "kafka-broker-ingress.knative-eventing": {80},
        "ml-pipeline.kubeflow": {8888},
        "coding-mcqa-predictor.coding-mcqa": {80},  # KServe's
        "kafka-cluster-kafka-bootstrap.kafka": {9092},
    }
    for overlay, documents in overlays.items():
        known = {name: set(ports) for name, ports in elsewhere.items()}
        for document in documents:
            name = f"{document['metadata']['name']}.{HERE}"
            if document["kind"] == "Service":
                ports = document["spec"].get("ports")
                known.setdefault(name, set()).update({item["port"] for item in ports} if ports else {80})
        text = "\n".join(str(document) for document in documents if document["kind"] != "NetworkPolicy")
        for host, port in re.findall(r"([a-z0-9.-]+)\.svc\.cluster\.local(?::(\d+|\*))?", text):
            if port != "*":
                assert int(port or 80) in known.get(host, set()), (overlay, host, port)


def test_the_local_platform_stands_for_the_same_addresses(minikube) -> None:
    """What the manifests name outside the namespace, the laptop has; and nothing that no manifest names."""
    settings = config(minikube)
    named_here = {urlsplit(settings[key]).netloc for key in ("K_SINK", "MLFLOW_TRACKING_URI", "KFP_ENDPOINT")}
    assert addresses(Settings()).keys() == named_here


def test_ports_lead_to_containers(overlays) -> None:
    for documents in overlays.values():
        pods = [d["spec"]["template"] for d in documents if d["kind"] in ("Deployment", "StatefulSet")]
        for service in (d for d in documents if d["kind"] == "Service" and "ports" in d["spec"]):
            behind = [
                pod for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
            ]
            assert len(behind) == 1, service["metadata"]["name"]
            (container,) = behind[0]["spec"]["containers"]
            ports = {port.get("name"): port["containerPort"] for port in container["ports"]}
            for port in service["spec"]["ports"]:
                assert port["targetPort"] in (*ports, *ports.values())
            probes = [container[probe] for probe in ("readinessProbe", "livenessProbe") if probe in container]
            for probe in probes:
                asked = next((probe[way]["port"] for way in ("httpGet", "tcpSocket") if way in probe), None)
                assert asked in (None, *ports, *ports.values())


def test_the_webhook_arrives(minikube) -> None:
    (job,) = (d for d in minikube if d["kind"] == "Job" and d["metadata"]["name"] == "bootstrap")
    (argument,) = (a for a in job["spec"]["template"]["spec"]["containers"][0]["args"] if "webhook" in a)
    url = urlsplit(argument.removeprefix("--webhook-url="))
    (path,) = re.findall(r'^WEBHOOK_PATH = "(.+)"', (ROOT / "functions/rollout/handler.py").read_text(), re.MULTILINE)
    assert (url.scheme, url.netloc, url.path) == ("http", f"rollout.{HERE}.svc.cluster.local", path)
    assert config(minikube, "mlflow")["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] == "true"


def test_mlflow_lets_in_whom_the_loop_calls(overlays) -> None:
    """MLflow refuses a Host that it is not told of: the loop's own address must be among them."""
    for overlay, documents in overlays.items():
        hosts = config(documents, "mlflow")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
        assert "*" not in hosts
        if overlay != "tracking":
            host = urlsplit(config(documents)["MLFLOW_TRACKING_URI"]).hostname
            assert f"{host}:*" in hosts
