"""The component `monitoring`: that Prometheus finds the model server, and asks for metrics which it has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import servers
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tool import TOOL

from tools.manifests.render import Target, render
from tools.project import DEPLOY, ROOT

OVERLAYS = ("minikube", "production", "standard")
VALUES = yaml.safe_load((DEPLOY / "monitoring/values.yaml").read_text())
SELECTOR = re.compile(r"\b(mcqa_\w+|up)\b(?:\{([^}]*)\})?")
Document = dict[str, Any]
Series = list[tuple[str, dict[str, str]]]


@pytest.fixture(scope="module", params=OVERLAYS)
def monitored(request: pytest.FixtureRequest, processes: None) -> list[Document]:
    """The documents of an overlay with the component."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return render(Target(request.param, DEPLOY / request.param, DEPLOY / "components/monitoring"))


def only(documents: list[Document], kind: str, name: str) -> Document:
    (result,) = (d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)
    return result


@pytest.fixture(scope="module")
def scraped(version: Path, processes: None) -> Series:
    """(name, labels) of each sample of a real server that answered, was asked nonsense, and was probed."""
    with servers.running(version) as server:
        assert server.ask(servers.QUESTION).status_code == 200
        assert server.post(servers.PREDICT, {"nonsense": 1}).status_code == 400
        text = server.client.get(monitor_path()).raise_for_status().text
        return [(s.name, s.labels) for family in text_string_to_metric_families(text) for s in family.samples]


def monitor_path() -> str:
    monitor = yaml.safe_load((DEPLOY / "components/monitoring/predictor.yaml").read_text())
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return str(endpoint["path"])


def rules() -> list[Document]:
    rule = yaml.safe_load((DEPLOY / "components/monitoring/rules.yaml").read_text())
    return [item for group in rule["spec"]["groups"] for item in group["rules"]]


def test_prometheus_finds_the_servers_own_port(monitored: list[Document]) -> None:
    monitor = only(monitored, "PodMonitor", "predictor")["spec"]
    policy = only(monitored, "NetworkPolicy", "predictor-metrics")["spec"]
    (container,) = only(monitored, "ServingRuntime", "coding-mcqa")["spec"]["containers"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    # A Knative revision renames the port, Standard mode does not: only the number is the same.
    assert endpoint.keys().isdisjoint({"port", "targetPort"})
    assert endpoint["portNumber"] == container["ports"][0]["containerPort"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": endpoint["portNumber"]}]]
    others = only(monitored, "NetworkPolicy", "predictor")["spec"]
    assert monitor["selector"] == policy["podSelector"] == others["podSelector"]
    service = only(monitored, "InferenceService", "coding-mcqa")
    assert monitor["selector"]["matchLabels"]["serving.kserve.io/inferenceservice"] == service["metadata"]["name"]
    # The operator looks in the monitor's own namespace where it names none.
    assert "namespaceSelector" not in monitor


def test_a_canarys_figures_are_told_apart(monitored: list[Document]) -> None:
    (endpoint,) = only(monitored, "PodMonitor", "predictor")["spec"]["podMetricsEndpoints"]
    annotations = only(monitored, "InferenceService", "coding-mcqa")["spec"]["predictor"]["annotations"]
    (relabeling,) = endpoint["relabelings"]
    prefix = "__meta_kubernetes_pod_annotation_"
    names = {prefix + re.sub(r"[^a-zA-Z0-9_]", "_", name): name for name in annotations}
    assert [names[label] for label in relabeling["sourceLabels"]] == ["coding-mcqa/model-version"]


def test_helm_has_prometheus_and_grafana_look_for_what_is_here(monitored: list[Document]) -> None:
    for name in ("podMonitor", "rule"):
        assert VALUES["prometheus"]["prometheusSpec"][f"{name}SelectorNilUsesHelmValues"] is False
    sidecar = VALUES["grafana"]["sidecar"]
    dashboard = only(monitored, "ConfigMap", "grafana-predictor")
    assert dashboard["metadata"]["labels"] == {sidecar["dashboards"]["label"]: sidecar["dashboards"]["labelValue"]}
    (text,) = dashboard["data"].values()
    # The one that compose.yaml mounts.
    assert text == (DEPLOY / "compose/grafana/dashboards/predictor.json").read_text()
    asked = {panel["datasource"]["uid"] for panel in json.loads(text)["panels"]}
    assert asked == {sidecar["datasources"]["uid"]}


@pytest.mark.usefixtures("processes")
def test_an_upgrade_brings_the_charts_crds_along(tmp_path: Path) -> None:
    """Helm installs them once; afterwards an operator of tomorrow would meet the kinds of yesterday."""
    for name, answer in (("helm", "case $1 in show) echo 'kind: CustomResourceDefinition' ;; esac"), ("kubectl", "")):
        (tmp_path / name).write_text(f'#!/usr/bin/env bash\necho "{name} $*" >>{tmp_path}/asked\n{answer}\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": "/nonexistent"}
    options = [f"--no-{part}" for part in ("minikube", "cert-manager", "knative", "kserve", "pipelines")]
    command = [*TOOL, "cluster-up", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    crds = ".cache/monitoring-crds.yaml"
    assert (ROOT / crds).read_text() == "kind: CustomResourceDefinition\n"
    (ROOT / crds).unlink()
    wanted = [
        "helm show crds ",
        f"kubectl apply .*--filename {crds}$",
        f"kubectl wait .*Established --filename {crds} ",
        "helm upgrade --install ",
        "kubectl wait .*Available prometheus,alertmanager --all ",
    ]
    (places,) = zip(*([i for i, line in enumerate(asked) if re.match(item, line)] for item in wanted), strict=True)
    assert list(places) == sorted(places)
    chart = r"kube-prometheus-stack --repo \S+ --version \S+"
    assert len({match[0] for line in asked if (match := re.search(chart, line))}) == 1


def test_alerts_speak_of_what_a_real_server_tells(monitored: list[Document], scraped: Series) -> None:
    """Metrics by name, labels by name, and the job by the monitor's."""
    rendered = only(monitored, "PrometheusRule", "predictor")["spec"]["groups"]
    assert [rule for group in rendered for rule in group["rules"]] == rules()
    monitor = only(monitored, "PodMonitor", "predictor")["metadata"]
    known: dict[str, set[str]] = {"up": {"job"}}
    for name, labels in scraped:
        known.setdefault(name, {"job"}).update(labels)
    for rule in rules():
        selectors = SELECTOR.findall(rule["expr"])
        assert selectors
        for name, matchers in selectors:
            assert name in known, rule["alert"]
            for label, value in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
                assert label in known[name], (rule["alert"], label)
                assert label != "job" or value == f"{monitor['namespace']}/{monitor['name']}"
    methods = {labels["method"] for name, labels in scraped if name == "mcqa_requests_total"}
    assert "predict" in methods


needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (apt: prometheus)")
GOOD = 'mcqa_requests_total{method="predict", status="200", namespace="n", model_version="1"}'
BAD = 'mcqa_requests_total{method="predict", status="503", namespace="n", model_version="1"}'
GRPC = 'mcqa_requests_total{method="infer", status="INTERNAL", namespace="n", model_version="1"}'
PROBE = 'mcqa_requests_total{method="ready", status="503", namespace="n", model_version="1"}'
FULL = 'mcqa_errors_total{cause="queue_full", namespace="n", model_version="1"}'
READY = 'mcqa_ready{job="coding-mcqa/predictor", pod="p"}'
UP = 'up{job="coding-mcqa/predictor", pod="p"}'


@needs_promtool
@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("series", "alerts"),
    [
        ({GOOD: "0+60x60", BAD: "0+6x60"}, {"CodingMcqaErrors"}),
        ({GOOD: "0+60x60", GRPC: "0+6x60"}, {"CodingMcqaErrors"}),
        ({GOOD: "0+60x60", BAD: "0+2x60"}, set()),
        ({GOOD: "0+60x60", PROBE: "0+60x60"}, set()),
        ({GOOD: "0+60x60", BAD: "0x50 1x10"}, set()),  # one error, and none before
        ({FULL: "0+1x60"}, {"CodingMcqaQueueFull"}),
        ({FULL: "7x60"}, set()),
        ({READY: "0x60"}, {"CodingMcqaNotReady"}),
        ({READY: "1x60"}, set()),
        ({UP: "0x60"}, {"CodingMcqaNotScraped"}),
        ({UP: "0x20 1x40"}, set()),  # a slow start
        ({UP: "1x60"}, set()),
        ({GOOD: "0+60x10 _x50"}, set()),  # scaled to zero
    ],
)
def test_alerts_fire_when_they_should(tmp_path: Path, series: dict[str, str], alerts: set[str]) -> None:
    groups = {"groups": [{"name": "predictor", "rules": rules()}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups))
    firing = " or ".join(f'ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}}' for rule in rules())
    wanted = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": f"count by (alertname) ({firing})", "eval_time": "60m", "exp_samples": wanted}],
    }
    unit = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(unit))
    command = ["promtool", "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
