"""What components brought and is not deployed any more: `kubectl apply` would leave it in the cluster.

    deploy_leftovers.py COMPONENT … <RENDERED

COMPONENT: those of earlier deployments. RENDERED: what is deployed, as kustomize renders it. A line each, as kubectl
asks for it: Ingress.v1.networking.k8s.io mlflow. The files are read as text, because this runs without a YAML library.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

COMPONENTS = Path(__file__).resolve().parents[1] / "deploy/components"
# With an ExternalSecret its Secret would go, which everything else needs.
STAYS = "external-secrets"


def leftovers(names: list[str], rendered: str) -> list[tuple[str, str]]:
    """Kind and name of every object that a component of `names` brings and `rendered` has not."""
    deployed = set(objects(rendered))
    folders = (COMPONENTS / name for name in names if name != STAYS)
    brought = (one for folder in folders if folder.is_dir() for one in resources(folder))
    return [one for one in dict.fromkeys(brought) if one not in deployed]


def resources(folder: Path) -> Iterator[tuple[str, str]]:
    """What a kustomization adds; what it patches is not its own."""
    text = (folder / "kustomization.yaml").read_text()
    for name in re.findall(r"^configMapGenerator:\n  - name: (\S+)", text, re.M):
        yield "ConfigMap.v1.", name
    for block in re.findall(r"^resources:\n((?:  - .+\n)+)", text, re.M):
        for name in re.findall(r"- (\S+)", block):
            path = folder / name
            yield from resources(path) if path.is_dir() else objects(path.read_text())


def objects(text: str) -> Iterator[tuple[str, str]]:
    """Kind, as kubectl takes it, and name of each document."""
    for document in re.split(r"^---$", text, flags=re.M):
        if kind := re.search(r"^kind: (\S+)", document, re.M):
            api = re.search(r"^apiVersion: (\S+)", document, re.M)
            name = re.search(r"^metadata:\n(?:  .*\n)*?  name: (\S+)", document, re.M)
            if api is None or name is None:
                raise ValueError(f"a {kind[1]} without apiVersion or name")
            group, _, version = api[1].rpartition("/")
            yield f"{kind[1]}.{version}.{group}", name[1]


if __name__ == "__main__":
    for one in leftovers(sys.argv[1:], sys.stdin.read()):
        print(*one)
