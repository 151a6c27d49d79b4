"""What components brought and is not deployed any more: `kubectl apply` would leave it in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.cluster.kubectl import ResourceType, resource_type
from tools.project import DEPLOY

COMPONENTS = DEPLOY / "components"
KEPT = "external-secrets"
"""With an ExternalSecret its Secret would go, which everything else needs."""
Document = Mapping[str, Any]


def leftovers(components: Iterable[str], deployed: Iterable[Document]) -> list[tuple[ResourceType, str]]:
    """Type and name of every object that one of the components brings and that is not `deployed`."""
    present = {identity(document) for document in deployed}
    folders = (COMPONENTS / name for name in components if name != KEPT)
    brought = [identity for folder in folders if folder.is_dir() for identity in added_by(folder)]
    return [identity for identity in dict.fromkeys(brought) if identity not in present]


def added_by(folder: Path) -> Iterator[tuple[ResourceType, str]]:
    """What a kustomization adds; what it patches is not its own."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    for generator in content.get("configMapGenerator") or ():
        yield ResourceType("v1", "ConfigMap"), generator["name"]
    for name in content.get("resources") or ():
        path = folder / name
        if path.is_dir():
            yield from added_by(path)
        else:
            documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
            yield from (identity(document) for document in documents if document)


def identity(document: Document) -> tuple[ResourceType, str]:
    return resource_type(document), document["metadata"]["name"]
