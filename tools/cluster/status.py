"""Lists what the cluster of the current context has, what it lacks, and what to do about it. Reads only."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable
from typing import Any

from common.names import INFERENCE_SERVICE, NAMESPACE, PIPELINE
from tools.cluster.kubectl import INSTALL, Kubectl, unavailable_deployments
from tools.cluster.kubeflow import KUBEFLOW
from tools.errors import ToolError
from tools.project import find_program

Object = dict[str, Any]
REQUEST_TIMEOUT = ("--request-timeout", "10s")
IN_NAMESPACE = ("--namespace", NAMESPACE)
BROKERS = "brokers.eventing.knative.dev"
SERVICES = "services.serving.knative.dev"
INFERENCE_SERVICES = "inferenceservices.serving.kserve.io"
PLATFORM_ADVICE = "make cluster-up, or ARGS=--no-minikube for this cluster"
DEPLOY_ADVICE = "make deploy OVERLAY=…"
SECRET_KEYS = {
    "loop": ("MCQA_DATABASE_URL",),
    "webhook": ("MCQA_WEBHOOK_SECRET",),
    "ui": ("MCQA_DATABASE_URL",),
    "mlflow": ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"),
}
STANDARD_FUNCTIONS = ("collect", "drift", "retrain", "notify", "dead-letters")
KEYS_TEMPLATE = "go-template={{range $key, $value := .data}}{{$key}} {{end}}"
"""The keys of a Secret without its values."""
# The reasons that kubelet gives for a container that waits for something that will not come by itself.
IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
CONFIG_REASONS = frozenset({"CreateContainerConfigError"})
CRASH_REASONS = frozenset({"CrashLoopBackOff"})


class Status:
    """Prints a line for everything that must be there, and counts what is missing."""

    def __init__(self, kubectl: Kubectl, kubeflow_namespace: str) -> None:
        self._shown, self._kubeflow = kubectl, kubeflow_namespace
        self._kubectl = Kubectl(kubectl.words(*REQUEST_TIMEOUT))
        self.missing = 0

    def check(self) -> bool:
        """Whether nothing is missing."""
        if find_program(self._shown.program) is None:
            raise ToolError(f"kubectl is not installed: {INSTALL}")
        context = self._kubectl.attempt("config", "current-context").stdout.strip() or "none"
        if not self._kubectl.succeeds("get", "--raw", "/readyz"):
            raise ToolError(f"the cluster of context '{context}' does not answer: make cluster-up makes one")
        print(f"cluster of context '{context}'")
        resources = self._kubectl.attempt("api-resources", "--no-headers", "--output", "name").stdout.split()
        print("what must be there before")
        self._check_platform(resources)
        pipelines = self._check_pipelines()
        print(f"this project, in {NAMESPACE}")
        if not self._kubectl.succeeds("get", "namespace", NAMESPACE):
            self._lacks(f"the namespace {NAMESPACE} is not there", "make secrets deploy OVERLAY=minikube")
        else:
            self._check_project(resources, pipelines)
        if self.missing:
            print(f"{self.missing} missing")
            return False
        service = self._find(INFERENCE_SERVICES, INFERENCE_SERVICE) or {}
        print(f"nothing is missing: {(service.get('status') or {}).get('url', '')}")
        return True

    def _has(self, what: str) -> None:
        print(f"  ✓ {what}")

    def _lacks(self, what: str, advice: str) -> None:
        print(f"  ✗ {what}\n      → {advice}")
        self.missing += 1

    def _note(self, what: str) -> None:
        print(f"  - {what}")

    def _find(self, *words: str) -> Object | None:
        return self._kubectl.find(*words, *IN_NAMESPACE)

    def _describe(self, kind: str, name: str) -> str:
        return f"{self._shown} describe {kind} {name} --namespace {NAMESPACE}"

    def _check_platform(self, resources: Iterable[str]) -> None:
        for title, namespace, resource in (
            ("Knative Serving", "knative-serving", SERVICES),
            ("Knative Eventing", "knative-eventing", BROKERS),
            ("KServe", "kserve", INFERENCE_SERVICES),
        ):
            if resource not in resources:
                self._lacks(f"{title} is not installed (no {resource})", PLATFORM_ADVICE)
                continue
            listing = self._kubectl.attempt("get", "deployments", "--namespace", namespace, "--output", "json").stdout
            if not listing.strip() or not json.loads(listing)["items"]:
                self._lacks(f"{title}: the API is there, but no Deployment in {namespace} serves it", PLATFORM_ADVICE)
            elif missing := unavailable_deployments(listing):
                pods = f"{self._shown} get pods --namespace {namespace}"
                self._lacks(f"{title}: not running: {' '.join(missing)}", pods)
            else:
                self._has(title)

    def _check_pipelines(self) -> bool:
        """Whether Kubeflow's API server runs."""
        if not self._kubectl.succeeds("get", "namespace", KUBEFLOW):
            self._lacks(
                "Kubeflow Pipelines is not installed: drift is found, but nothing is retrained", "make setup-kubeflow"
            )
            return False
        server = self._kubectl.find("deployment", "ml-pipeline", "--namespace", KUBEFLOW) or {}
        if not (server.get("status") or {}).get("availableReplicas", 0):
            pods = f"{self._shown} get pods --namespace {KUBEFLOW}"
            self._lacks("Kubeflow Pipelines: its API server is not running", pods)
            return False
        self._has("Kubeflow Pipelines")
        return True

    def _check_project(self, resources: list[str], pipelines: bool) -> None:
        for name, keys in SECRET_KEYS.items():
            self._check_secret(name, keys)
        if self._kubectl.succeeds("get", "configmap", "loop", *IN_NAMESPACE):
            self._has("ConfigMap loop")
        else:
            self._lacks("ConfigMap loop is not there", DEPLOY_ADVICE)
        if pipelines:
            self._check_pipeline()
        self._check_workload("statefulset", "postgres", "PostgreSQL", optional=True)
        self._check_workload("deployment", "mlflow", "MLflow")
        self._check_workload("deployment", "ui", "the page")
        for job in ("migrate", "bootstrap"):
            self._check_job(job)
        if BROKERS in resources:
            self._check_condition(BROKERS, "default", "Broker default")
            self._check_each("triggers.eventing.knative.dev", "Trigger")
            self._check_each("pingsources.sources.knative.dev", "PingSource")
        service = self._find(INFERENCE_SERVICES, INFERENCE_SERVICE) or {"metadata": {}}
        mode = (service["metadata"].get("annotations") or {}).get("serving.kserve.io/deploymentMode")
        if mode == "Standard":
            for function in STANDARD_FUNCTIONS:
                self._check_workload("deployment", function, f"function {function}")
        elif SERVICES in resources:
            self._check_each(SERVICES, "function", except_prefix=f"{INFERENCE_SERVICE}-")
        if INFERENCE_SERVICES in resources:
            self._check_condition(INFERENCE_SERVICES, INFERENCE_SERVICE, f"InferenceService {INFERENCE_SERVICE}")
        self._check_pods()

    def _check_secret(self, name: str, keys: Iterable[str]) -> None:
        """That it has the keys; its values are not read."""
        completed = self._kubectl.attempt("get", "secret", name, *IN_NAMESPACE, "--output", KEYS_TEMPLATE)
        if completed.returncode:
            self._lacks(f"Secret {name} is not there", "make secrets")
            return
        present = completed.stdout.split()
        if missing := [key for key in keys if key not in present]:
            self._lacks(f"Secret {name} has no key {missing[0]}", "delete it, then make secrets")
        else:
            self._has(f"Secret {name}")

    def _check_pipeline(self) -> None:
        """What the pipeline's steps read in their own namespace, and the pipeline."""
        for resource, advice in (
            ("secret/loop", "make secrets"),
            ("configmap/loop", "scripts/tools kubeflow-settings"),
        ):
            if self._kubectl.succeeds("get", resource, "--namespace", self._kubeflow):
                self._has(f"the pipeline's {resource} in {self._kubeflow}")
            else:
                self._lacks(f"the pipeline's {resource} is not in {self._kubeflow}: its steps do not start", advice)
        uploaded = self._pipeline_uploaded()
        if uploaded:
            self._has("the retraining pipeline in Kubeflow")
        elif uploaded is False and self._kubeflow == KUBEFLOW:
            self._lacks("the retraining pipeline was not uploaded: nothing is retrained", "make pipeline-deploy")
        else:
            self._note(
                "whether the retraining pipeline is in Kubeflow could not be asked here: mcqa pipeline list --url …"
            )

    def _pipeline_uploaded(self) -> bool | None:
        """By the list of pipelines of this name, empty where there is none; None where the server refuses to say."""
        # As kfp.Client.get_pipeline_id asks; 1 is EQUALS.
        equals = {"operation": 1, "key": "display_name", "stringValue": PIPELINE}
        query = urllib.parse.urlencode({"filter": json.dumps({"predicates": [equals]})})
        service = f"/api/v1/namespaces/{KUBEFLOW}/services/ml-pipeline:8888/proxy"
        completed = self._kubectl.attempt("get", "--raw", f"{service}/apis/v2beta1/pipelines?{query}")
        if completed.returncode:
            return None
        try:
            return bool(json.loads(completed.stdout).get("pipelines"))
        except ValueError:
            return None

    def _check_workload(self, kind: str, name: str, title: str, *, optional: bool = False) -> None:
        """A Deployment or StatefulSet with a ready replica."""
        item = self._find(kind, name)
        if item is None:
            if not optional:
                self._lacks(f"{title} is not there", DEPLOY_ADVICE)
        elif (item.get("status") or {}).get("readyReplicas", 0):
            self._has(title)
        else:
            self._lacks(f"{title} is not ready", self._describe(kind, name))

    def _check_job(self, name: str) -> None:
        job = self._find("job", name)
        if job is None:
            self._note(f"Job {name} is not there: done some time ago, or never applied")
        elif (job.get("status") or {}).get("succeeded") == 1:
            self._has(f"Job {name}")
        else:
            logs = f"{self._shown} logs --namespace {NAMESPACE} job/{name}"
            self._lacks(f"Job {name} has not succeeded", logs)

    def _check_condition(self, kind: str, name: str, title: str) -> None:
        """The object's condition Ready, with its reason."""
        item = self._find(kind, name)
        if item is None:
            self._lacks(f"{title} is not there", DEPLOY_ADVICE)
            return
        conditions = (item.get("status") or {}).get("conditions") or ()
        ready: Object = next((condition for condition in conditions if condition["type"] == "Ready"), {})
        if ready.get("status") == "True":
            self._has(title)
        else:
            reason = f" ({ready.get('reason', '')}: {ready.get('message', '')})" if ready else ""
            self._lacks(f"{title} is not ready{reason}", self._describe(kind, name))

    def _check_each(self, kind: str, title: str, *, except_prefix: str = "\0") -> None:
        items: list[Object] = (self._find(kind) or {}).get("items", [])
        if not items:
            self._lacks(f"there is no {title}", DEPLOY_ADVICE)
        for name in (item["metadata"]["name"] for item in items):
            if not name.startswith(except_prefix):
                self._check_condition(kind, name, f"{title} {name}")

    def _check_pods(self) -> None:
        """Pods that wait for something that will not come by itself."""
        for pod in (self._find("pods") or {}).get("items", []):
            name, status = pod["metadata"]["name"], pod.get("status") or {}
            containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
            waiting = [(container.get("state") or {}).get("waiting") or {} for container in containers]
            reasons = {str(state.get("reason")) for state in waiting}
            if reasons & IMAGE_REASONS:
                self._lacks(f"pod {name}: its image cannot be had", self._describe("pod", name))
            elif reasons & CONFIG_REASONS:
                self._lacks(f"pod {name}: a Secret or ConfigMap that it names is missing", self._describe("pod", name))
            elif reasons & CRASH_REASONS:
                logs = f"{self._shown} logs {name} --namespace {NAMESPACE} --all-containers --previous"
                self._lacks(f"pod {name} ends again and again", logs)
