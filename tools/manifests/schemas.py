"""Makes deploy/schemas: what Kubernetes, KServe, Knative and others say of each kind, closed and small.

Closed means that a field which a schema does not name is an error. Descriptions are left out, and what is written
several times (a pod's specification, twenty times in an InferenceService) is written once, under `$defs`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.project import DEPLOY, ROOT

SCHEMAS = DEPLOY / "schemas"
Schema = dict[str, Any]

KUBERNETES = [
    "v1/Namespace",
    "v1/ConfigMap",
    "v1/Secret",
    "v1/Service",
    "v1/ServiceAccount",
    "v1/PersistentVolume",
    "v1/PersistentVolumeClaim",
    "apps/v1/Deployment",
    "apps/v1/StatefulSet",
    "batch/v1/Job",
    "batch/v1/CronJob",
    "autoscaling/v2/HorizontalPodAutoscaler",
    "policy/v1/PodDisruptionBudget",
    "networking.k8s.io/v1/NetworkPolicy",
    "networking.k8s.io/v1/Ingress",
    "rbac.authorization.k8s.io/v1/Role",
    "rbac.authorization.k8s.io/v1/RoleBinding",
    "scheduling.k8s.io/v1/PriorityClass",
]
CUSTOM = {
    "InferenceService", "ServingRuntime", "ClusterStorageContainer", "LocalModelCache", "LocalModelNodeGroup",
    "Service", "Broker", "Trigger", "PingSource", "EventPolicy", "RabbitmqBrokerConfig", "ExternalSecret",
    "PodMonitor", "PrometheusRule",
}  # fmt: skip
_OPEN = "x-kubernetes-preserve-unknown-fields"
_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
METADATA: Schema = {
    "type": "object",
    "properties": {"name": _TEXT, "namespace": _TEXT, "labels": _TEXTS, "annotations": _TEXTS},
    "required": ["name"],
    "additionalProperties": False,
}
"""Of a manifest's metadata, what a person may write."""


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
    left_out = ("properties", "default", "format", "description", "title", "example", "examples", "externalDocs")
    extra = ("x-kubernetes-",)
    result = {
        key: closed(value)
        for key, value in schema.items()
        if key not in left_out and not (key.startswith(extra) and key != _OPEN)
    }
    if "properties" in schema:
        result["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
    named = "properties" in schema or not schema.get(_OPEN)
    if schema.get("type") == "object" and "additionalProperties" not in schema and named:
        result["additionalProperties"] = False
    return result


def custom(folders: Iterable[Path], kinds: Container[str] | None = CUSTOM) -> Iterator[tuple[str, Schema]]:
    """(`group/version/Kind`, closed schema) of the CRDs in the folders; `kinds` None: of all of them."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in sorted(path for folder in folders for path in folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if "kind: CustomResourceDefinition" not in text:
            continue
        # Helm's charts have templates in them, around the schema only.
        text = re.sub(r"^.*\{\{.*\}\}.*$", "", text, flags=re.MULTILINE)
        for crd in yaml.load_all(text, loader):
            if not crd or (kinds is not None and crd["spec"]["names"]["kind"] not in kinds):
                continue
            for version in crd["spec"]["versions"]:
                schema = closed(version["schema"]["openAPIV3Schema"])
                # Written by the cluster, and most of it long.
                schema["properties"].pop("status", None)
                head = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": METADATA}
                schema["properties"] |= head
                yield f"{crd['spec']['group']}/{version['name']}/{crd['spec']['names']['kind']}", schema


def kubernetes(folder: Path) -> Iterator[tuple[str, Schema]]:
    """(`group/version/Kind`, closed schema) of Kubernetes' own kinds, references resolved."""
    definitions = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))["$defs"]
    for name in KUBERNETES:
        api_version, _, kind = name.rpartition("/")
        group, _, version = api_version.rpartition("/")
        file = "-".join(part for part in (kind.lower(), group.partition(".")[0], version) if part)
        schema = closed(_resolved(json.loads((folder / f"{file}.json").read_text(encoding="utf-8")), definitions))
        schema["properties"].pop("status", None)
        schema["properties"] |= {"apiVersion": _TEXT, "kind": _TEXT, "metadata": METADATA}
        schema["required"] = ["apiVersion", "kind", "metadata"]
        yield name, schema


def _resolved(schema: Any, definitions: Schema) -> Any:
    if isinstance(schema, list):
        return [_resolved(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        if name.endswith((".IntOrString", ".Quantity")):
            return {"type": ["integer", "number", "string"]}
        return _resolved(definitions[name], definitions)
    return {key: _resolved(value, definitions) for key, value in schema.items()}


def shared(schemas: Schema, least: int = 80) -> Schema:
    """One document with each schema under its name; what is the same in several places once, in `$defs`."""
    counts: Counter[str] = Counter()

    def count(node: Any) -> None:
        if isinstance(node, dict):
            text = json.dumps(node, sort_keys=True)
            counts[text] += 1
            if counts[text] > 1:
                return
        for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            count(inner)

    count(schemas)
    defs: Schema = {}

    def replace(node: Any, top: bool = False) -> Any:
        if isinstance(node, list):
            return [replace(item) for item in node]
        if not isinstance(node, dict):
            return node
        text = json.dumps(node, sort_keys=True)
        if not top and counts[text] > 1 and len(text) > least and ("type" in node or "properties" in node):
            name = hashlib.sha256(text.encode()).hexdigest()[:10]
            if name not in defs:
                defs[name] = {}
                defs[name] = {key: replace(value) for key, value in node.items()}
            return {"$ref": f"#/$defs/{name}"}
        return {key: replace(value) for key, value in node.items()}

    kinds = {name: replace(schema, top=True) for name, schema in sorted(schemas.items())}
    return {"kinds": kinds, "$defs": dict(sorted(defs.items()))}


def written(path: Path) -> Schema:
    """The schemas of a file that `shared` made, references resolved."""
    if not path.is_file():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    return {name: _resolved(schema, document["$defs"]) for name, schema in document["kinds"].items()}


def write(kubernetes_folder: Path | None, crd_folders: Iterable[Path]) -> None:
    """Rewrites deploy/schemas; what the folders do not have is kept as it is."""
    SCHEMAS.mkdir(exist_ok=True)
    for name, schemas in (
        ("kubernetes", kubernetes(kubernetes_folder) if kubernetes_folder else ()),
        ("custom", custom(crd_folders)),
    ):
        path = SCHEMAS / f"{name}.json"
        document = shared(written(path) | dict(schemas))
        path.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(document['kinds'])} kinds, {path.stat().st_size / 1000:.0f} kB")
