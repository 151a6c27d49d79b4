"""What must be in a cluster before this project: cert-manager, Knative with Kourier, KServe, Prometheus and Grafana."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tools import process
from tools.cluster.kubectl import Kubectl, apply_server_side, wait_for_deployments
from tools.console import Console
from tools.project import DEPLOY, ROOT, pinned_versions

GITHUB = "https://github.com"
KOURIER = "kourier.ingress.networking.knative.dev"
KNATIVE = "knative-serving"
POD_FEATURES = ("priorityclassname", "topologyspreadconstraints", "tolerations", "nodeselector")
"""Of Knative's config-features: what deploy/production asks of pods besides the defaults."""
MONITORING_CRDS = ".cache/monitoring-crds.yaml"


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """What is installed. `minikube` False: only the platform, into the cluster of the current context."""

    minikube: bool = True
    images: bool = True
    cert_manager: bool = True
    knative: bool = True
    kserve: bool = True
    pipelines: bool = True
    monitoring: bool = True


class Platform:
    """In the cluster of the current context, by the versions of deploy/versions.env."""

    def __init__(self, kubectl: Kubectl, console: Console, options: InstallOptions) -> None:
        self._kubectl, self._console, self._options = kubectl, console, options
        self._versions = pinned_versions()

    def install(self) -> None:
        """Each part that is asked for, in the order in which they need each other."""
        options = self._options
        if options.cert_manager:
            version = self._versions["CERT_MANAGER_VERSION"]
            self._console.say(f"cert-manager {version}")
            self._apply(f"{GITHUB}/cert-manager/cert-manager/releases/download/{version}/cert-manager.yaml")
            self._wait_for("cert-manager")
        ingress_class = self._setting(
            "config-network", '{{with .data}}{{with index . "ingress-class"}}{{.}}{{end}}{{end}}'
        )
        kourier = ingress_class in ("", KOURIER)
        if options.knative:
            self._install_serving(kourier, ingress_class)
            self._install_eventing()
        if options.kserve:
            self._install_kserve(kourier)
        if options.monitoring:
            self._install_monitoring()

    def _install_serving(self, kourier: bool, ingress_class: str) -> None:
        version, kourier_version = self._versions["KNATIVE_SERVING_VERSION"], self._versions["KOURIER_VERSION"]
        self._console.say(f"Knative Serving {version}" + (f" with Kourier {kourier_version}" if kourier else ""))
        if not kourier:
            self._console.say(
                f"its ingress class {ingress_class} stays: change the gateway's namespace in deploy/policies"
            )
        release = f"{GITHUB}/knative/serving/releases/download/knative-{version}"
        self._apply(f"{release}/serving-crds.yaml", f"{release}/serving-core.yaml")
        if kourier:
            release = f"{GITHUB}/knative-extensions/net-kourier/releases/download/knative-{kourier_version}"
            self._apply(f"{release}/kourier.yaml")
            self._configure("config-network", {"ingress-class": KOURIER})
        self._configure("config-features", {f"kubernetes.podspec-{feature}": "enabled" for feature in POD_FEATURES})
        # Knative answers on the ingress only for a domain of its own, not for svc.cluster.local.
        names = '{{range $name, $_ := .data}}{{if ne $name "_example"}}{{$name}} {{end}}{{end}}'
        if not self._setting("config-domain", names):
            self._configure("config-domain", {"example.com": ""})
        self._wait_for(KNATIVE)
        if kourier:
            self._wait_for("kourier-system")

    def _install_eventing(self) -> None:
        version = self._versions["KNATIVE_EVENTING_VERSION"]
        self._console.say(f"Knative Eventing {version}")
        release = f"{GITHUB}/knative/eventing/releases/download/knative-{version}"
        files = ("eventing-crds", "eventing-core", "in-memory-channel", "mt-channel-broker")
        self._apply(*(f"{release}/{file}.yaml" for file in files))
        self._wait_for("knative-eventing")

    def _install_kserve(self, kourier: bool) -> None:
        version = self._versions["KSERVE_VERSION"]
        self._console.say(f"KServe {version}")
        self._apply(f"{GITHUB}/kserve/kserve/releases/download/{version}/kserve.yaml")
        self._wait_for("kserve")
        if not kourier:
            return
        # Without Istio its virtual service leads nowhere: the InferenceService would be Ready under a host that
        # answers 404.
        ingress: dict[str, Any] = {}
        if not self._console.dry_run:
            words = ("get", "configmap", "inferenceservice-config", "--namespace", "kserve")
            ingress = json.loads(self._kubectl.output(*words, "--output", "jsonpath={.data.ingress}"))
        ingress["disableIstioVirtualHost"] = True
        self._configure("inferenceservice-config", {"ingress": json.dumps(ingress)}, namespace="kserve")
        restart = ("rollout", "restart", "deployment/kserve-controller-manager", "--namespace", "kserve")
        self._console.run(self._kubectl.words(*restart))
        self._wait_for("kserve")

    def _install_monitoring(self) -> None:
        version = self._versions["PROMETHEUS_CHART_VERSION"]
        self._console.say(f"Prometheus and Grafana (chart {version})")
        repository = "https://prometheus-community.github.io/helm-charts"
        chart = ["kube-prometheus-stack", "--repo", repository, "--version", version]
        # Helm installs a chart's CRDs once and leaves them as they are when it upgrades.
        show = ["helm", "show", "crds", *chart]
        if self._console.dry_run:
            print(" ".join([*show, f">{MONITORING_CRDS}"]), flush=True)
        else:
            crds = ROOT / MONITORING_CRDS
            crds.parent.mkdir(exist_ok=True)
            crds.write_text(process.output(show), encoding="utf-8")
        self._apply(MONITORING_CRDS)
        established = ("wait", "--for=condition=Established", "--filename", MONITORING_CRDS, "--timeout", "60s")
        self._console.run(self._kubectl.words(*established))
        upgrade = ["helm", "upgrade", "--install", "monitoring", *chart, "--namespace", "monitoring"]
        values = ["--values", str((DEPLOY / "monitoring/values.yaml").relative_to(ROOT))]
        self._console.run([*upgrade, "--create-namespace", *values, "--wait", "--timeout", "15m"])
        # Helm waits for the operator, and not for the pods that the operator makes.
        available = ("--for=condition=Available", "prometheus,alertmanager", "--all", "--timeout", "300s")
        self._console.run(self._kubectl.words("wait", "--namespace", "monitoring", *available))

    def _apply(self, *files: str) -> None:
        apply_server_side(self._kubectl, self._console, *files)

    def _wait_for(self, namespace: str) -> None:
        wait_for_deployments(self._kubectl, self._console, namespace, 300)

    def _setting(self, configmap: str, template: str) -> str:
        """A setting of Knative that the cluster has; "" where it has none yet."""
        if self._console.dry_run:
            return ""
        words = ("get", "configmap", configmap, "--namespace", KNATIVE, "--output", f"go-template={template}")
        completed = self._kubectl.attempt(*words)
        return "" if completed.returncode else completed.stdout.strip()

    def _configure(self, configmap: str, data: dict[str, str], namespace: str = KNATIVE) -> None:
        words = ("patch", "configmap", configmap, "--namespace", namespace, "--type", "merge", "--patch")
        self._console.run(self._kubectl.words(*words, json.dumps({"data": data})))
