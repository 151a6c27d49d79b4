"""Renders every kustomization: kserve, knative, the overlays, and each component on top of an overlay."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.names import NAMESPACE
from tools import process
from tools.errors import ToolError
from tools.project import DEPLOY, ROOT

BASES = ("kserve", "knative")
OVERLAYS = ("minikube", "production", "standard", "tracking")
STANDARD_ONLY = frozenset({"standard-canary"})
EVERYWHERE = frozenset({"monitoring"})
"""Components rendered on top of each overlay that serves: they name what Knative and Standard mode both make."""
Document = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(ToolError):
    """kubectl does not render a kustomization; its message in one line."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is rendered: a folder, or a component on top of an overlay that does not have it."""

    name: str
    folder: Path
    component: Path | None = None


def targets() -> list[Target]:
    """Everything that a person could apply."""
    rendered = [Target(name, ROOT / name) for name in BASES]
    rendered += [Target(f"deploy/{name}", DEPLOY / name) for name in OVERLAYS]
    used = {path.resolve() for name in OVERLAYS for path in _components(DEPLOY / name)}
    for component in sorted(path for path in (DEPLOY / "components").iterdir() if path.is_dir()):
        overlays = ["standard"] if component.name in STANDARD_ONLY else ["minikube"]
        if component.name in EVERYWHERE:
            overlays = ["minikube", "production", "standard"]
        if component.resolve() not in used:
            rendered += [Target(f"deploy/{name} + {component.name}", DEPLOY / name, component) for name in overlays]
    return rendered


def render(target: Target) -> list[Document]:
    """The documents as `kubectl kustomize` writes them. RenderError when it does not."""
    if target.component is None:
        return _kustomize(target.folder)
    # kustomize requires relative paths: the kustomization is next to what it names.
    with tempfile.TemporaryDirectory(prefix=".render-", dir=DEPLOY) as work:
        layers = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": NAMESPACE,
            "resources": [f"../{target.folder.name}"],
            "components": [f"../components/{target.component.name}"],
        }
        (Path(work) / "kustomization.yaml").write_text(yaml.safe_dump(layers), encoding="utf-8")
        return _kustomize(Path(work))


def as_pods(documents: list[Document]) -> list[Document]:
    """The documents with a Pod in place of each custom kind that containers are started from.

    An InferenceService's model and its ServingRuntime's container are one: the first overrides the second.
    """
    models = {d["spec"]["predictor"]["model"]["runtime"]: d for d in documents if d["kind"] == "InferenceService"}
    return [_pod(document, models) or document for document in documents]


def _pod(document: Document, models: Mapping[str, Document]) -> Document | None:
    kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec") or {}
    if kind == "Service" and "template" in spec:
        pod = dict(spec["template"]["spec"])
        pod.pop("containerConcurrency", None)
    elif kind == "ServingRuntime":
        service = models[name]["spec"]["predictor"]
        own = {key: service["model"][key] for key in ("resources", "env") if key in service["model"]}
        pod = {**spec, "containers": [{**spec["containers"][0], **own}]}
        pod = {key: pod[key] for key in ("containers", "volumes") if key in pod}
        pod["serviceAccountName"] = service.get("serviceAccountName", "default")
    elif kind == "ClusterStorageContainer":
        pod = {"initContainers": [spec["container"]], "containers": [], "serviceAccountName": "predictor"}
    else:
        return None
    # What their ServiceAccount says of the token (deploy/identity), and the webhooks add to a pod.
    pod |= {"automountServiceAccountToken": name == "rollout", "enableServiceLinks": False}
    pod.setdefault("securityContext", {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}})
    metadata = {"name": f"{kind}-{name}".lower(), "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def write(folder: Path) -> None:
    """Writes the overlays into the folder, a file each, as `as_pods` makes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in OVERLAYS:
        documents = as_pods(render(Target(name, DEPLOY / name)))
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")


def _kustomize(folder: Path) -> list[Document]:
    program = shutil.which("kubectl")
    if program is None:
        raise RenderError(
            "kubectl is not installed; it renders and knows kustomize: https://kubernetes.io/docs/tasks/tools"
        )
    completed = process.attempt([program, "kustomize", str(folder)])
    if completed.returncode or completed.stderr.strip():
        lines = completed.stderr.strip().splitlines() or [f"kubectl ended with status {completed.returncode}"]
        raise RenderError(lines[0][:500])
    return [document for document in yaml.load_all(completed.stdout, _LOADER) if document]


def _components(folder: Path) -> Iterator[Path]:
    """The components of a kustomization and of those that it is made of."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    for name in content.get("components") or ():
        yield folder / name
    for name in [*(content.get("components") or ()), *(content.get("resources") or ())]:
        if (folder / name).is_dir():
            yield from _components(folder / name)
