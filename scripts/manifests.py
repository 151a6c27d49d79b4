"""Renders every kustomization and validates each document against deploy/schemas, as strictly as a cluster or more.

    .venv/bin/python scripts/manifests.py [FOLDER …]
    .venv/bin/python scripts/manifests.py --out FOLDER

Without folders: kserve, knative, the overlays, and each component on top of an overlay. Exit status 1 when anything is
wrong, with a line for each mistake. --out writes the overlays, as tools that know only Kubernetes' own kinds want them:
what KServe and Knative make pods of is there as Pods.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
SCHEMAS = DEPLOY / "schemas"
BASES = ("kserve", "knative")
OVERLAYS = ("minikube", "production", "standard", "tracking")
STANDARD_ONLY = frozenset({"standard-canary"})
EVERYWHERE = frozenset({"monitoring"})
"""Components that are laid upon each overlay that serves, as they speak of what Knative and Standard mode both make."""
Document = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(Exception):
    """kubectl does not render a kustomization; its message in one line."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is rendered: a folder, or a component laid upon an overlay that does not have it."""

    name: str
    folder: Path
    component: Path | None = None


def targets() -> list[Target]:
    """Everything that a person could apply."""
    found = [Target(name, ROOT / name) for name in BASES]
    found += [Target(f"deploy/{name}", DEPLOY / name) for name in OVERLAYS]
    used = {path.resolve() for name in OVERLAYS for path in _components(DEPLOY / name)}
    for component in sorted(path for path in (DEPLOY / "components").iterdir() if path.is_dir()):
        overlays = ["standard"] if component.name in STANDARD_ONLY else ["minikube"]
        if component.name in EVERYWHERE:
            overlays = ["minikube", "production", "standard"]
        if component.resolve() not in used:
            found += [Target(f"deploy/{name} + {component.name}", DEPLOY / name, component) for name in overlays]
    return found


def render(target: Target) -> list[Document]:
    """The documents as `kubectl kustomize` writes them. RenderError when it does not."""
    if target.component is None:
        return _kustomize(target.folder)
    # kustomize wants relative paths: the kustomization lies beside what it names.
    with tempfile.TemporaryDirectory(prefix=".render-", dir=DEPLOY) as work:
        layers = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "coding-mcqa",
            "resources": [f"../{target.folder.name}"],
            "components": [f"../components/{target.component.name}"],
        }
        (Path(work) / "kustomization.yaml").write_text(yaml.safe_dump(layers))
        return _kustomize(Path(work))


def problems(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with a document, a line each; a field that its schema does not name is wrong."""
    kind = f"{document.get('apiVersion')}/{document.get('kind')}"
    validator = _validator(kind)
    if validator is None:
        return [f"no schema of {kind}; scripts/schemas.py adds one"]
    errors = sorted(validator.iter_errors(document), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]


def doubles(documents: list[Document]) -> list[str]:
    """Names that two documents of one rendering have."""
    counted = Counter(
        (document["apiVersion"].rpartition("/")[0], document["kind"], document["metadata"]["name"])
        for document in documents
    )
    return [f"{kind} {name}: written {times} times" for (_, kind, name), times in counted.items() if times > 1]


def check(target: Target) -> tuple[int, list[str]]:
    """How many documents it has, and what is wrong with them."""
    documents = render(target)
    found = [
        f"{document.get('kind')} {document.get('metadata', {}).get('name')}: {problem}"
        for document in documents
        for problem in problems(document)
    ]
    return len(documents), found + doubles(documents)


def as_pods(documents: list[Document]) -> list[Document]:
    """The documents with a Pod in the place of each custom kind that containers are started from.

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
    metadata = {"name": f"{kind}-{name}".lower(), "namespace": "coding-mcqa"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def write(folder: Path) -> None:
    """The overlays into the folder, a file each, as `as_pods` makes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in OVERLAYS:
        documents = as_pods(render(Target(name, DEPLOY / name)))
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))


def main(folders: list[str]) -> int:
    if folders[:1] == ["--out"]:
        write(Path(folders[1]))
        return 0
    wanted = [Target(name.rstrip("/"), Path(name).resolve()) for name in folders] or targets()
    total = mistakes = 0
    for target in wanted:
        try:
            count, found = check(target)
        except RenderError as error:
            count, found = 0, [str(error)]
        total, mistakes = total + count, mistakes + len(found)
        print(f"{'✗' if found else '✓'} {target.name}: {count} documents")
        for problem in found:
            print(f"    {problem}")
    verdict = f"{mistakes} mistakes" if mistakes else "all valid"
    print(f"{total} documents of {len(wanted)} kustomizations: {verdict}")
    return 1 if mistakes else 0


def _kustomize(folder: Path) -> list[Document]:
    program = shutil.which("kubectl")
    if program is None:
        raise RenderError(
            "kubectl is not installed; it renders and knows kustomize: https://kubernetes.io/docs/tasks/tools"
        )
    done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or done.stderr.strip():
        lines = done.stderr.strip().splitlines() or [f"kubectl ended with {done.returncode}"]
        raise RenderError(lines[0][:500])
    return [document for document in yaml.load_all(done.stdout, _LOADER) if document]


def _components(folder: Path) -> Iterator[Path]:
    """The components of a kustomization and of those that it is made of."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    for name in content.get("components") or ():
        yield folder / name
    for name in [*(content.get("components") or ()), *(content.get("resources") or ())]:
        if (folder / name).is_dir():
            yield from _components(folder / name)


@lru_cache
def _schemas() -> dict[str, tuple[Document, Document]]:
    """(schema, the definitions that it refers to) by `group/version/Kind`."""
    found = {}
    for path in sorted(SCHEMAS.glob("*.json")):
        content = json.loads(path.read_text())
        found |= {name: (schema, content["$defs"]) for name, schema in content["kinds"].items()}
    return found


@lru_cache
def _validator(kind: str) -> jsonschema.Draft202012Validator | None:
    if kind not in _schemas():
        return None
    schema, definitions = _schemas()[kind]
    return jsonschema.Draft202012Validator({**schema, "$defs": definitions})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
