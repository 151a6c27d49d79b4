"""Applies an overlay to the cluster of the current context, and waits until it answers. Safe to repeat.

What serves is kept: the version and the canary's share that the cluster has are written into what is applied. A plain
`kubectl apply -k` would set them back to the manifest's version 1. Functions, MLflow and the page restart where a
Secret or a ConfigMap changed that they read.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.annotations import MODEL_VERSION_ANNOTATION
from common.names import INFERENCE_SERVICE, NAMESPACE
from tools import process
from tools.cluster import kubeflow
from tools.cluster.kubectl import Kubectl
from tools.cluster.leftovers import leftovers
from tools.cluster.readiness import PREDICTOR, NotReady, not_ready
from tools.console import Console
from tools.errors import ToolError
from tools.project import DEPLOY, IMAGES, LOCAL_REGISTRY

OVERLAYS = ("minikube", "production", "standard")
WITH_LOGIN = ("production",)
"""Overlays that have the component ui-login."""
COMPONENTS_ANNOTATION = "coding-mcqa/components"
"""On the namespace: the components that were deployed. What they bring stays in a cluster until it is deleted."""
SETTINGS_ANNOTATION = "coding-mcqa/settings"
SETTINGS_SECRETS = ("loop", "webhook", "notify", "registry", "mlflow", "mlflow-login", "ui", "ui-login")
SETTINGS_CONFIGMAPS = ("loop", "mlflow", "ui")
SETTINGS_READERS = (
    ("serving.knative.dev", "v1", "Service", ".+"),
    ("apps", "v1", "Deployment", "collect|dead-letters|drift|notify|retrain|rollout|mlflow|ui"),
)
"""Group, version, kind and names of those that read them when they start."""
SERVING = ("inferenceservices.serving.kserve.io", INFERENCE_SERVICE, "--namespace", NAMESPACE)
POLL_SECONDS = 3.0
NAMES_SHOWN = 4
Document = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is asked for. `wait`: seconds until everything must be ready, 0 not to wait."""

    overlay: str
    registry: str
    tag: str
    components: tuple[str, ...]
    kubeflow_namespace: str
    wait: int


def deploy(kubectl: Kubectl, console: Console, wanted: Deployment) -> None:
    """With the console's `dry_run`, prints what would be applied."""
    if not wanted.overlay or not (DEPLOY / wanted.overlay / "kustomization.yaml").is_file():
        raise ToolError(f"'{wanted.overlay}' is not an overlay: OVERLAY={'|'.join(OVERLAYS)}", exit_code=2)
    with tempfile.TemporaryDirectory(prefix=".apply-", dir=DEPLOY) as work:
        rendered = _render_for_cluster(kubectl, console, wanted, Path(work))
        if console.dry_run:
            print(rendered, end="")
            return
        manifest = Path(work) / "rendered"
        manifest.write_text(rendered, encoding="utf-8")
        documents = parse(rendered)
        _check_secrets(kubectl, wanted)
        _apply(kubectl, console, wanted, rendered, documents)
        kubeflow.copy_settings(kubectl, wanted.kubeflow_namespace)
        if wanted.wait:
            _wait(kubectl, console, manifest, wanted.wait)


def parse(rendered: str) -> list[Document]:
    return [document for document in yaml.load_all(rendered, _LOADER) if document]


def kustomization(wanted: Deployment, patches: Iterable[Document] = ()) -> Document:
    """The overlay with its components, images and patches; it is written into a folder next to the overlays."""
    tag = {"newTag": wanted.tag} if wanted.tag else {}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": [f"../{wanted.overlay}"],
        "components": [f"../components/{name}" for name in wanted.components],
        # kustomize knows where images stand, except in KServe's ClusterStorageContainer.
        "configurations": ["images.yaml"],
        "images": [
            {"name": f"{LOCAL_REGISTRY}/{image}", "newName": f"{wanted.registry}/{image}", **tag} for image in IMAGES
        ],
        "patches": list(patches),
    }


def keep_serving(service: Document | None) -> list[Document]:
    """Patches with the version and the canary's share that the cluster's InferenceService has."""
    predictor = (service or {}).get("spec", {}).get("predictor", {})
    uri = (predictor.get("model") or {}).get("storageUri")
    if not uri:
        return []
    operations = [{"op": "replace", "path": "/spec/predictor/model/storageUri", "value": uri}]
    if version := (predictor.get("annotations") or {}).get(MODEL_VERSION_ANNOTATION):
        path = f"/spec/predictor/annotations/{MODEL_VERSION_ANNOTATION.replace('/', '~1')}"
        operations.append({"op": "replace", "path": path, "value": version})
    if (percent := predictor.get("canaryTrafficPercent")) is not None:
        operations.append({"op": "add", "path": "/spec/predictor/canaryTrafficPercent", "value": percent})
    target = {"kind": "InferenceService", "name": INFERENCE_SERVICE}
    return [{"target": target, "patch": yaml.safe_dump(operations)}]


def restart_on_change(settings: str) -> Iterator[Document]:
    """Patches with a checksum of the settings: environments are read when a pod starts, so a change restarts it."""
    checksum = hashlib.sha256(settings.encode()).hexdigest()[:16]
    template = {"template": {"metadata": {"annotations": {SETTINGS_ANNOTATION: checksum}}}}
    for group, version, kind, names in SETTINGS_READERS:
        target = {"group": group, "kind": kind, "name": names}
        api_version = f"{group}/{version}"
        patch = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "any"}, "spec": template}
        yield {"target": target, "patch": yaml.safe_dump(patch)}


def _render_for_cluster(kubectl: Kubectl, console: Console, wanted: Deployment, work: Path) -> str:
    """What is to be applied, as YAML. A dry run needs no cluster to look at."""
    if console.dry_run:
        if not kubectl.succeeds("get", "namespace", NAMESPACE):
            return _render(kubectl, wanted, work, [])
    else:
        kubectl.check_reachable()
    patches = _serving_patches(kubectl, console, wanted)
    settings = kubectl.attempt(
        "get", "secrets", *SETTINGS_SECRETS, "--namespace", NAMESPACE, "--ignore-not-found", "--output",
        'jsonpath={range .items[*]}{.metadata.name} {.metadata.resourceVersion}{"\\n"}{end}',
    )  # fmt: skip
    if settings.returncode:
        reason = process.last_line(settings.stderr)
        raise ToolError(f"the names of the Secrets in {NAMESPACE} cannot be read: {reason}")
    configmaps = [
        document
        for document in parse(_render(kubectl, wanted, work, patches))
        if document["kind"] == "ConfigMap" and document["metadata"]["name"] in SETTINGS_CONFIGMAPS
    ]
    everything = settings.stdout + json.dumps(configmaps, sort_keys=True)
    return _render(kubectl, wanted, work, [*patches, *restart_on_change(everything)])


def _render(kubectl: Kubectl, wanted: Deployment, work: Path, patches: list[Document]) -> str:
    images = {"images": [{"path": "spec/container/image", "kind": "ClusterStorageContainer"}]}
    (work / "images.yaml").write_text(yaml.safe_dump(images), encoding="utf-8")
    content = yaml.safe_dump(kustomization(wanted, patches))
    (work / "kustomization.yaml").write_text(content, encoding="utf-8")
    completed = kubectl.attempt("kustomize", str(work))
    if completed.returncode:
        raise ToolError(f"{wanted.overlay} does not render: {process.last_line(completed.stderr)}")
    return completed.stdout


def _serving_patches(kubectl: Kubectl, console: Console, wanted: Deployment) -> list[Document]:
    service = kubectl.find(*SERVING)
    patches = keep_serving(service)
    if not service or not patches:
        return []
    predictor = service["spec"]["predictor"]
    uri, percent = predictor["model"]["storageUri"], predictor.get("canaryTrafficPercent")
    if "modelcar" in wanted.components:
        message = f"the component modelcar names the version that serves, instead of {uri}"
        patches = []
    else:
        message = f"keeps {uri}" + (f" at {percent}%" if percent is not None else "")
    console.say(message, to_stderr=console.dry_run)
    return patches


def _check_secrets(kubectl: Kubectl, wanted: Deployment) -> None:
    names = [] if "external-secrets" in wanted.components else ["loop", "webhook", "mlflow", "ui"]
    if names and {"mlflow-login", "mlflow-ingress"} & set(wanted.components):  # the Ingress brings the login
        names.append("mlflow-login")
    if names and (wanted.overlay in WITH_LOGIN or {"ui-login", "ui-ingress"} & set(wanted.components)):
        names.append("ui-login")
    if "registry-pull" in wanted.components:
        names.append("registry-pull")
    for name in names:
        if not kubectl.succeeds("get", "secret", name, "--namespace", NAMESPACE):
            raise ToolError(f"Secret {name} is not in {NAMESPACE}: make secrets, or as docs/cluster.md says")


def _apply(kubectl: Kubectl, console: Console, wanted: Deployment, rendered: str, documents: list[Document]) -> None:
    """Applies, and takes back what earlier components brought. The namespace remembers which there were."""
    namespace = kubectl.output(
        "get", "namespace", NAMESPACE, "--ignore-not-found", "--output",
        f"jsonpath={{.metadata.name}} {{.metadata.annotations.{COMPONENTS_ANNOTATION}}}",
    ).split()  # fmt: skip
    before = namespace[1:]
    if namespace:
        _remember(kubectl, [*before, *wanted.components])
    # A Job's template cannot be changed, and these two may run again.
    kubectl.run("delete", "jobs", "migrate", "bootstrap", "--namespace", NAMESPACE, "--ignore-not-found")
    console.say(f"applies {len(documents)} objects of {wanted.overlay}")
    applied = kubectl.attempt("apply", "--filename", "-", text=rendered, show_errors=True)
    for line in applied.stdout.splitlines():
        if not line.endswith(" unchanged"):
            print(line, flush=True)
    if applied.returncode:
        raise ToolError("not everything could be applied; the lines above say why")
    for kind, name in leftovers(before, documents):
        console.say(f"takes back {kind.kind} {name}")
        deleted = kubectl.attempt("delete", str(kind), name, "--namespace", NAMESPACE, "--ignore-not-found")
        # Where the kind itself has gone, so have its objects.
        if deleted.returncode and kubectl.serves(kind):
            reason = process.last_line(deleted.stderr)
            raise ToolError(f"{name}, of a component that is not named any more, stays: {reason}")
    _remember(kubectl, list(wanted.components))
    if "modelcar" in wanted.components:
        # The component leaves it out, which does not delete it: it would bring an mlflow:// version back.
        trigger = ("triggers.eventing.knative.dev", "rollout")
        kubectl.run("delete", *trigger, "--namespace", NAMESPACE, "--ignore-not-found")


def _remember(kubectl: Kubectl, components: list[str]) -> None:
    annotation = f"{COMPONENTS_ANNOTATION}={' '.join(components)}"
    kubectl.run("annotate", "namespace", NAMESPACE, "--overwrite", annotation)


def _wait(kubectl: Kubectl, console: Console, manifest: Path, seconds: int) -> None:
    announced: list[str] = []
    while missing := _missing(kubectl, manifest):
        if console.seconds >= seconds:
            print(*(f"  {item}" for item in missing), sep="\n", file=sys.stderr)
            hint = f"make cluster-status says more; make deploy continues (WAIT={seconds})"
            raise ToolError(f"the above is not ready after {console.seconds} s: {hint}")
        names = sorted({item.name for item in missing})
        if names != announced:
            console.say(f"waits for {shorten(names)}")
            announced = names
        time.sleep(POLL_SECONDS)
    url = ((kubectl.find(*SERVING) or {}).get("status") or {}).get("url", "")
    console.say(f"ready: {url}. Next: make smoke URL=…, make cluster-status")


def shorten(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")


def _missing(kubectl: Kubectl, manifest: Path) -> list[NotReady]:
    live = kubectl.attempt("get", "--filename", str(manifest), "--ignore-not-found", "--output", "json")
    serving = kubectl.attempt(*_behind(kubectl))
    for completed in (live, serving):
        if completed.returncode:
            return [NotReady("the cluster", process.last_line(completed.stderr))]
    return list(not_ready(_items(live.stdout), _items(serving.stdout)))


def _behind(kubectl: Kubectl) -> tuple[str, ...]:
    """The question for what KServe made for the InferenceService."""
    metadata = (kubectl.find(*SERVING) or {}).get("metadata", {})
    output = ("--namespace", NAMESPACE, "--output", "json")
    if (metadata.get("annotations") or {}).get("serving.kserve.io/deploymentMode") == "Standard":
        return ("get", "deployments", "--selector", f"serving.kserve.io/inferenceservice={INFERENCE_SERVICE}", *output)
    return ("get", "services.serving.knative.dev", PREDICTOR, "--ignore-not-found", *output)


def _items(text: str) -> list[Document]:
    content: Document = json.loads(text) if text.strip() else {"items": []}
    items: list[Document] = content.get("items", [content])
    return items
