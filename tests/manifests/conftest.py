"""The manifests and the clusters' schemas, closed: a field that a schema does not name is an error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT.parent / "shared" / "reference" / "crds"
FOLDERS = ("kserve", "knative")
Document = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # half a megabyte of schemas
_OPEN = "x-kubernetes-preserve-unknown-fields"

_TEXT: Document = {"type": "string"}
_TEXTS: Document = {"type": "object", "additionalProperties": _TEXT}
_METADATA: Document = {
    "type": "object",
    "properties": {"name": _TEXT, "namespace": _TEXT, "labels": _TEXTS, "annotations": _TEXTS},
    "required": ["name"],
    "additionalProperties": False,
}
# The only core kinds in the manifests; clusters publish no CRD of them.
_CORE: dict[tuple[str, str], Document] = {
    ("v1", "Namespace"): {"type": "object", "properties": {}},
    ("v1", "ConfigMap"): {"type": "object", "properties": {"data": _TEXTS}},
}


def closed(schema: Any) -> Any:
    """The schema with every object closed that names its fields, or that is not said to keep unknown ones.

    Knative's schemas keep unknown fields of some objects whose fields they name; its webhooks, which decode strictly,
    refuse them.
    """
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    # Fields' names are data, not keywords: one of them may be called `properties` or `items`.
    result = {key: closed(value) for key, value in schema.items() if key not in ("properties", "default", "format")}
    if "properties" in schema:
        result["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
    named = "properties" in schema or not schema.get(_OPEN)
    if schema.get("type") == "object" and "additionalProperties" not in schema and named:
        result["additionalProperties"] = False
    return result


@pytest.fixture(scope="session")
def schemas() -> dict[tuple[str, str], Document]:
    """Closed schemas by (apiVersion, kind)."""
    if not CRDS.is_dir():
        pytest.skip("the clusters' CRDs are not here: ../shared/reference/crds")
    found = dict(_CORE)
    for path in sorted(CRDS.rglob("*.yaml")):
        for crd in filter(None, yaml.load_all(path.read_text(), _LOADER)):
            for version in crd["spec"]["versions"]:
                key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                found[key] = version["schema"]["openAPIV3Schema"]
    head = {"apiVersion": _TEXT, "kind": _TEXT}
    return {
        key: closed({**schema, "properties": {**schema["properties"], **head}})
        | {"properties": {**closed(schema["properties"]), **head, "metadata": _METADATA}}
        for key, schema in found.items()
    }


@pytest.fixture(scope="session")
def problems(schemas: dict[tuple[str, str], Document]) -> Callable[[Document], list[str]]:
    """What a strict cluster would say against a document."""

    def check(document: Document) -> list[str]:
        schema = schemas.get((document.get("apiVersion", ""), document.get("kind", "")))
        if schema is None:
            return [f"no such kind: {document.get('apiVersion')} {document.get('kind')}"]
        errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
        return [f"{error.json_path}: {error.message[:200]}" for error in errors]

    return check


def documents(folder: str) -> Iterator[tuple[Path, Document]]:
    """Each document of a folder with its file; kustomize's own files left out."""
    for path in sorted((ROOT / folder).glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if isinstance(document, dict) and document.get("kind") != "Kustomization":
                yield path, document


@pytest.fixture(scope="session")
def manifests() -> list[Document]:
    """Every document as it is written."""
    return [document for folder in FOLDERS for _, document in documents(folder)]


@pytest.fixture(scope="session")
def rendered() -> list[Document]:
    """Every document as `kubectl kustomize` renders it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    found: list[Document] = []
    for folder in FOLDERS:
        done = subprocess.run([kubectl, "kustomize", str(ROOT / folder)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        found += yaml.safe_load_all(done.stdout)
    return found
