"""Who set which field: `metadata.managedFields`, and server-side apply over it (Kubernetes: "Server-Side Apply").

Lists are owned whole. A cluster merges a few of them by key (containers by name); applying one list from two managers
is a conflict here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local.kube.errors import field_conflict
from local.kube.patches import merge_patch
from local.kube.resources import Object

Path = tuple[str, ...]
_MISSING = object()

_UNOWNED = {("apiVersion",), ("kind",)} | {
    ("metadata", name)
    for name in (
        *("name", "namespace", "generateName", "uid", "resourceVersion", "generation", "selfLink", "managedFields"),
        *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    )
}


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry's owner. `operation` is Apply or Update, `subresource` "" or status."""

    name: str
    operation: str = "Update"
    subresource: str = ""


def leaves(item: Object) -> dict[Path, Any]:
    """Every value with its path; lists, and objects without fields, count as one value."""
    found: dict[Path, Any] = {}

    def walk(value: Any, path: Path) -> None:
        if path in _UNOWNED:
            return
        if isinstance(value, dict) and (value or not path):
            for name, inner in value.items():
                walk(inner, (*path, name))
        else:
            found[path] = value

    walk(item, ())
    return found


def encode(paths: Iterable[Path]) -> dict[str, Any]:
    """The FieldsV1 form: {"f:spec": {"f:replicas": {}}}."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for name in path:
            node = node.setdefault(f"f:{name}", {})
    return tree


def decode(tree: Mapping[str, Any]) -> set[Path]:
    """The paths of a FieldsV1 form; list keys (k:, v:) count as the whole list."""
    found: set[Path] = set()

    def walk(node: Mapping[str, Any], path: Path) -> None:
        inner = {name: value for name, value in node.items() if name.startswith("f:")}
        if not inner and path:
            found.add(path)
        for name, value in inner.items():
            walk(value, (*path, name[2:]))

    walk(tree, ())
    return found


def owners(item: Object) -> dict[Manager, set[Path]]:
    """What each manager owns of an object."""
    entries = item["metadata"].get("managedFields") or []
    return {_manager(entry): decode(entry.get("fieldsV1") or {}) for entry in entries}


def updated(old: Object | None, new: Object, manager: Manager, now: str) -> Object:
    """`new` with the fields that it changes owned by `manager`."""
    before, after = leaves(old) if old else {}, leaves(new)
    changed = {path for path, value in after.items() if before.get(path, _MISSING) != value}
    owned = {who: (paths - changed) & after.keys() for who, paths in (owners(old) if old else {}).items()}
    if changed:
        owned[manager] = owned.get(manager, set()) | changed
    return _with_owners(new, owned, old, manager, now)


def applied(live: Object | None, config: Object, manager: Manager, now: str, *, force: bool) -> Object:
    """The object after `manager` applied `config`.

    What the manager applied before and leaves out now is removed unless another manager owns it too. A field that
    another manager owns with another value is a conflict (409) unless `force`d, which takes it over.
    """
    config = copy.deepcopy(config)
    config.get("metadata", {}).pop("managedFields", None)
    wanted = set(leaves(config))
    if live is None:
        return _with_owners(config, {manager: wanted}, None, manager, now)
    owned, current = owners(live), leaves(live)
    others = {who: paths for who, paths in owned.items() if who != manager}
    values = leaves(config)
    taken = [
        (who, path, other)
        for path in sorted(wanted)
        for who, paths in others.items()
        for other in paths
        if _overlap(path, other) and current.get(path, _MISSING) != values[path] and not _present(live, path, values)
    ]
    if taken and not force:
        raise field_conflict([(who.name, "." + ".".join(path)) for who, path, _ in taken])
    for who, _, other in taken:
        others[who].discard(other)
    result = merge_patch(live, _without_nulls(config))
    for path in owned.get(manager, set()) - wanted:
        if not any(other[: len(path)] == path for paths in (*others.values(), wanted) for other in paths):
            _remove(result, path)
    return _with_owners(result, {**others, manager: wanted}, live, manager, now)


def _with_owners(
    item: Object, owned: Mapping[Manager, set[Path]], old: Object | None, changer: Manager, now: str
) -> Object:
    """Entries whose fields did not change keep their time, so that writing the same again changes nothing."""
    earlier = {_manager(entry): entry for entry in (old or {}).get("metadata", {}).get("managedFields") or []}
    entries = []
    for who, paths in owned.items():
        if not paths:
            continue
        before = earlier.get(who)
        if before and decode(before.get("fieldsV1") or {}) == paths:
            entries.append(before)
            continue
        entry: dict[str, Any] = {
            "manager": who.name,
            "operation": who.operation,
            "apiVersion": item["apiVersion"],
            "time": now if who == changer or not before else before.get("time", now),
            "fieldsType": "FieldsV1",
            "fieldsV1": encode(paths),
        }
        if who.subresource:
            entry["subresource"] = who.subresource
        entries.append(entry)
    metadata = {**item["metadata"], "managedFields": entries}
    if not entries:
        del metadata["managedFields"]
    return {**item, "metadata": metadata}


def _manager(entry: Mapping[str, Any]) -> Manager:
    return Manager(entry.get("manager", ""), entry.get("operation", "Update"), entry.get("subresource", ""))


def _overlap(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _present(live: Object, path: Path, values: Mapping[Path, Any]) -> bool:
    """Whether {} is applied where there is an object already: that changes nothing."""
    node: Any = live
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return values[path] == {} and isinstance(node, dict)


def _remove(item: Object, path: Path) -> None:
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


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value
