"""The fields that the embedded platform knows, against those that clusters know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from local.kube.resources import RESOURCES, Resource
from local.kube.schemas import SCHEMAS

CUSTOM = [resource for resource in RESOURCES if resource.custom]

# What a cluster's KServe can do and this platform cannot: refused here with "unknown field".
FRAMEWORKS = "huggingface lightgbm onnx paddle pmml pytorch sklearn tensorflow triton xgboost"
MISSING = {
    "spec.canary",  # of Standard mode
    "spec.explainer.art",
    "spec.predictor.model.confidential",
    *(f"spec.predictor.{name}" for name in FRAMEWORKS.split()),
}
RARE = {"fileKeyRef", "claims", "hostIP", "hostPort", "terminationGracePeriodSeconds"}


def compare(ours: Any, theirs: Any, path: str) -> Iterator[tuple[str, str]]:
    """("ours" or "theirs", path) of each field that only one side names, and of each type that differs."""
    if not isinstance(theirs, dict) or "type" not in ours:
        return
    if theirs.get("type") not in (ours["type"], None):
        yield "type", path
    if "items" in ours and "items" in theirs:
        yield from compare(ours["items"], theirs["items"], path)
    mine, named = ours.get("properties"), theirs.get("properties")
    if not mine or not named:
        return
    for name in named.keys() - mine.keys():
        yield "theirs", f"{path}.{name}".lstrip(".")
    # Knative's delivery has fields that its schema keeps but does not name: timeout, retryAfterMax, format.
    if not theirs.get("x-kubernetes-preserve-unknown-fields"):
        for name in mine.keys() - named.keys():
            yield "ours", f"{path}.{name}".lstrip(".")
    for name in mine.keys() & named.keys():
        yield from compare(mine[name], named[name], f"{path}.{name}".lstrip("."))


@pytest.mark.parametrize("resource", CUSTOM, ids=lambda r: r.kind)
def test_fields_are_the_clusters(resource: Resource, schemas: dict[tuple[str, str], Any]) -> None:
    theirs = schemas[resource.api_version, resource.kind]
    result = list(compare(SCHEMAS[resource.group, resource.kind], theirs, ""))
    result = [(side, path) for side, path in result if not path.startswith(("metadata", "status"))]
    assert [path for side, path in result if side != "theirs"] == []
    unknown = {path for side, path in result if side == "theirs" and path.rsplit(".", 1)[-1] not in RARE}
    assert unknown <= MISSING
