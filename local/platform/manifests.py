"""The cluster's own manifests, read as `kubectl apply -k` reads them, and applied to the embedded API."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonpatch
import yaml

from common.annotations import MODEL_VERSION_ANNOTATION
from local.kube.resources import Object
from local.kube.store import ResourceStore, StatusError
from local.kube.writer import WriteOptions, resource_of
from local.platform.settings import PlatformError

log = logging.getLogger("platform")

MANAGER = "mcqa"


def load(folder: Path) -> list[Object]:
    """The documents of a folder with a kustomization.yaml: its resources, its namespace, its JSON patches.

    That is all of kustomize that the bases use; PlatformError names anything else.
    """
    kustomization = _load_yaml(folder / "kustomization.yaml")[0]
    known = {"apiVersion", "kind", "namespace", "resources", "patches"}
    if unknown := sorted(set(kustomization) - known):
        raise PlatformError(f"{folder}/kustomization.yaml: {', '.join(unknown)} is not supported here; use kubectl")
    documents = [item for name in kustomization["resources"] for item in _load_yaml(folder / name)]
    for patch in kustomization.get("patches") or ():
        operations = jsonpatch.JsonPatch(_load_yaml(folder / patch["path"])[0])
        documents = [operations.apply(item) if _is_target(item, patch["target"]) else item for item in documents]
    if namespace := kustomization.get("namespace"):
        for item in documents:
            if item["kind"] != "Namespace":  # kustomize cannot know which custom kinds are cluster-scoped; nor need we
                item["metadata"]["namespace"] = namespace
    return documents


def with_overrides(
    documents: Iterable[Object], config: Mapping[str, str], schedules: Mapping[str, str]
) -> Iterator[Object]:
    """The documents with this start's overrides: values of the ConfigMap `loop`, schedules of PingSources."""
    for document in documents:
        item = copy.deepcopy(document)
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] == "loop":
            item["data"] |= config
        if item["kind"] == "PingSource" and item["metadata"]["name"] in schedules:
            item["spec"]["schedule"] = schedules[item["metadata"]["name"]]
        yield item


def apply(store: ResourceStore, documents: Iterable[Object]) -> int:
    """Server-side apply of all of them; how many changed. PlatformError with the API's own reason."""
    changed = 0
    for item in documents:
        resource, metadata = resource_of(item), item["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "default")
        try:
            before = store.find(resource, name, namespace)
            if before is not None and item["kind"] == "InferenceService":
                item = keep_served_version(item, before)
            after, _ = store.patch(
                resource, name, item, namespace, type="apply", options=WriteOptions(MANAGER, force=True)
            )
        except StatusError as error:
            raise PlatformError(f"{item['kind']} {name}: {error}") from None
        changed += before is None or before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]
    return changed


def keep_served_version(item: Object, live: Object) -> Object:
    """The InferenceService with the version that it serves: the rollout function's to choose, not the manifest's."""
    item = copy.deepcopy(item)
    predictor, serves = item["spec"]["predictor"], live["spec"]["predictor"]
    if uri := (serves.get("model") or {}).get("storageUri"):
        predictor["model"]["storageUri"] = uri
    if version := (serves.get("annotations") or {}).get(MODEL_VERSION_ANNOTATION):
        predictor["annotations"][MODEL_VERSION_ANNOTATION] = version
    return item


def _is_target(item: Object, target: Mapping[str, Any]) -> bool:
    group = item["apiVersion"].rpartition("/")[0]
    facts = {"group": group, "kind": item["kind"], "name": item["metadata"]["name"]}
    return all(facts.get(name) == value for name, value in target.items())


def _load_yaml(path: Path) -> list[Any]:
    try:
        return [item for item in yaml.safe_load_all(path.read_text()) if item]
    except (OSError, yaml.YAMLError) as error:
        raise PlatformError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
