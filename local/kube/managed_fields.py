"""Who set which field: `metadata.managedFields`, and server-side apply over it (Kubernetes: "Server-Side Apply").

Lists are owned whole. A cluster merges a few of them by key (containers by name); applying one list from two managers
is a conflict here. Written by hand: a cluster's own implementation, structured-merge-diff, is a Go library.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local.kube.errors import field_conflict
from local.kube.patches import merge_patch
from local.kube.resources import Object

FieldPath = tuple[str, ...]
_MISSING = object()

_UNOWNED = {("apiVersion",), ("kind",)} | {
    ("metadata", name)
    for name in (
        *("name", "namespace", "generateName", "uid", "resourceVersion", "generation", "selfLink", "managedFields"),
        *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    )
}


@dataclass(frozen=True, slots=True)
class FieldManager:
    """One entry's owner. `operation` is Apply or Update, `subresource` "" or status."""

    name: str
    operation: str = "Update"
    subresource: str = ""


def leaf_values(item: Object) -> dict[FieldPath, Any]:
    """Every value with its path; lists, and objects without fields, count as one value."""
    values: dict[FieldPath, Any] = {}

    def walk(value: Any, path: FieldPath) -> None:
        if path in _UNOWNED:
            return
        if isinstance(value, dict) and (value or not path):
            for name, inner in value.items():
                walk(inner, (*path, name))
        else:
            values[path] = value

    walk(item, ())
    return values


def encode_fields_v1(paths: Iterable[FieldPath]) -> dict[str, Any]:
    """The FieldsV1 form: {"f:spec": {"f:replicas": {}}}."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for name in path:
            node = node.setdefault(f"f:{name}", {})
    return tree


def decode_fields_v1(tree: Mapping[str, Any]) -> set[FieldPath]:
    """The paths of a FieldsV1 form; list keys (k:, v:) count as the whole list."""
    paths: set[FieldPath] = set()

    def walk(node: Mapping[str, Any], path: FieldPath) -> None:
        inner = {name: value for name, value in node.items() if name.startswith("f:")}
        if not inner and path:
            paths.add(path)
        for name, value in inner.items():
            walk(value, (*path, name[2:]))

    walk(tree, ())
    return paths


def owned_fields(item: Object) -> dict[FieldManager, set[FieldPath]]:
    """What each manager owns of an object."""
    entries = item["metadata"].get("managedFields") or []
    return {_manager(entry): decode_fields_v1(entry.get("fieldsV1") or {}) for entry in entries}


def update(old: Object | None, new: Object, manager: FieldManager, now: str) -> Object:
    """`new` with the fields that it changes owned by `manager`."""
    before, after = leaf_values(old) if old else {}, leaf_values(new)
    changed = {path for path, value in after.items() if before.get(path, _MISSING) != value}
    owned = {owner: (paths - changed) & after.keys() for owner, paths in (owned_fields(old) if old else {}).items()}
    if changed:
        owned[manager] = owned.get(manager, set()) | changed
    return _with_owners(new, owned, old, manager, now)


def apply(live: Object | None, config: Object, manager: FieldManager, now: str, *, force: bool) -> Object:
    """The object after `manager` applied `config`, which has no nulls.

    What the manager applied before and leaves out now is removed unless another manager owns it too. A field that
    another manager owns with another value is a conflict (409) unless `force`d, which takes it over.
    """
    config = copy.deepcopy(config)
    config.get("metadata", {}).pop("managedFields", None)
    applied = set(leaf_values(config))
    if live is None:
        return _with_owners(config, {manager: applied}, None, manager, now)
    owned, current = owned_fields(live), leaf_values(live)
    others = {owner: paths for owner, paths in owned.items() if owner != manager}
    values = leaf_values(config)
    conflicts = [
        (owner, path, other)
        for path in sorted(applied)
        for owner, paths in others.items()
        for other in paths
        if _overlap(path, other)
        and current.get(path, _MISSING) != values[path]
        and not _is_object_already(live, path, values)
    ]
    if conflicts and not force:
        raise field_conflict([(owner.name, "." + ".".join(path)) for owner, path, _ in conflicts])
    for owner, _, other in conflicts:
        others[owner].discard(other)
    result = merge_patch(live, config)
    for path in owned.get(manager, set()) - applied:
        if not any(other[: len(path)] == path for paths in (*others.values(), applied) for other in paths):
            _remove(result, path)
    return _with_owners(result, {**others, manager: applied}, live, manager, now)


def _with_owners(
    item: Object, owned: Mapping[FieldManager, set[FieldPath]], old: Object | None, changer: FieldManager, now: str
) -> Object:
    """Entries whose fields did not change keep their time, so that writing the same again changes nothing."""
    earlier = {_manager(entry): entry for entry in (old or {}).get("metadata", {}).get("managedFields") or []}
    entries = []
    for owner, paths in owned.items():
        if not paths:
            continue
        before = earlier.get(owner)
        if before and decode_fields_v1(before.get("fieldsV1") or {}) == paths:
            entries.append(before)
            continue
        entry: dict[str, Any] = {
            "manager": owner.name,
            "operation": owner.operation,
            "apiVersion": item["apiVersion"],
            "time": now if owner == changer or not before else before.get("time", now),
            "fieldsType": "FieldsV1",
            "fieldsV1": encode_fields_v1(paths),
        }
        if owner.subresource:
            entry["subresource"] = owner.subresource
        entries.append(entry)
    metadata = {**item["metadata"], "managedFields": entries}
    if not entries:
        del metadata["managedFields"]
    return {**item, "metadata": metadata}


def _manager(entry: Mapping[str, Any]) -> FieldManager:
    return FieldManager(entry.get("manager", ""), entry.get("operation", "Update"), entry.get("subresource", ""))


def _overlap(path: FieldPath, other: FieldPath) -> bool:
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]


def _is_object_already(live: Object, path: FieldPath, values: Mapping[FieldPath, Any]) -> bool:
    """Whether {} is applied where there is an object already: that changes nothing."""
    node: Any = live
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return values[path] == {} and isinstance(node, dict)


def _remove(item: Object, path: FieldPath) -> None:
    """Takes a value out, and the objects it leaves empty."""
    trail: list[tuple[dict[str, Any], str]] = []
    node: Any = item
    for name in path:
        if not isinstance(node, dict) or name not in node:
            return
        trail.append((node, name))
        node = node[name]
    for parent, name in reversed(trail):
        del parent[name]
        if parent:
            return
