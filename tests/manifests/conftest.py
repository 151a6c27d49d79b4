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

from tools.manifests.schemas import METADATA, custom

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT.parent / "shared" / "reference" / "crds"
FOLDERS = ("kserve", "knative")
Document = dict[str, Any]

_TEXT: Document = {"type": "string"}
_HEAD: Document = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": METADATA}
# The only core kinds in the manifests; clusters publish no CRD of them.
_CORE: dict[tuple[str, str], Document] = {
    ("v1", "Namespace"): {},
    ("v1", "ConfigMap"): {"data": {"type": "object", "additionalProperties": _TEXT}},
}


@pytest.fixture(scope="session")
def schemas() -> dict[tuple[str, str], Document]:
    """Closed schemas by (apiVersion, kind), read from the clusters' CRDs anew."""
    if not CRDS.is_dir():
        pytest.skip("the clusters' CRDs are not here: ../shared/reference/crds")
    result = {
        key: {"type": "object", "properties": fields | _HEAD, "additionalProperties": False}
        for key, fields in _CORE.items()
    }
    for name, schema in custom([CRDS], kinds=None):
        api_version, _, kind = name.rpartition("/")
        result[api_version, kind] = schema
    return result


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
def rendered(processes: None) -> list[Document]:
    """Every document as `kubectl kustomize` renders it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    result: list[Document] = []
    for folder in FOLDERS:
        done = subprocess.run([kubectl, "kustomize", str(ROOT / folder)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        result += yaml.safe_load_all(done.stdout)
    return result
