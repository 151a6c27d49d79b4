"""The three patches of a Kubernetes API: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge for core.

JSON patch is jsonpatch's. Merge patch is RFC 7386's dozen lines, which jsonpatch does not have (json-merge-patch
changes its argument in place); no Python package has strategic merge.
"""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer

from local.kube.errors import StatusError, bad_request
from local.kube.resources import Object

# Lists that merge by a key instead of being replaced, in the core kinds served here (struct tags of k8s.io/api).
_KEYS = {"ports": "port", "secrets": "name", "imagePullSecrets": "name", "ownerReferences": "uid", "conditions": "type"}
_SETS = frozenset({"finalizers"})


def json_patch(target: Object, patch: Any) -> Object:
    """RFC 6902; 422 when an operation does not apply, 400 for what is not a JSON patch."""
    if not isinstance(patch, list):
        raise bad_request("a JSON patch is a list of operations")
    try:
        result: Object = jsonpatch.JsonPatch(patch).apply(target)
    except (jsonpatch.JsonPatchTestFailed, jsonpatch.JsonPatchConflict, jsonpointer.JsonPointerException) as error:
        raise StatusError(422, "Invalid", f"the patch does not apply: {str(error)[:200]}") from None
    except (jsonpatch.InvalidJsonPatch, TypeError, KeyError) as error:
        raise bad_request(f"not a JSON patch: {error}") from None
    return result


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null deletes, anything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def strategic_merge(target: Any, patch: Any) -> Any:
    """Merge patch in which some lists merge by a key, with the $patch, $retainKeys and $delete directives."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    if patch.get("$patch") == "replace":
        return {name: copy.deepcopy(value) for name, value in patch.items() if name != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    if retained := patch.get("$retainKeys"):
        result = {name: value for name, value in result.items() if name in retained}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field, []) if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            result.pop(name, None)
        elif isinstance(value, list) and (name in _KEYS or name in _SETS):
            order = patch.get(f"$setElementOrder/{name}")
            result[name] = _merge_list(result.get(name) or [], value, _KEYS.get(name), order)
        else:
            result[name] = strategic_merge(result.get(name), value)
    return result


def _merge_list(old: list[Any], patch: list[Any], key: str | None, order: list[Any] | None) -> list[Any]:
    if key is None:
        return old + [item for item in patch if item not in old]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    merged = {_key(item, key): item for item in old}
    for item in patch:
        if isinstance(item, dict) and item.get("$patch") == "delete":
            merged.pop(_key(item, key), None)
        else:
            merged[_key(item, key)] = strategic_merge(merged.get(_key(item, key)), item)
    items = list(merged.values())
    if order:
        places = {_key(item, key): place for place, item in enumerate(order)}
        items.sort(key=lambda item: places.get(_key(item, key), len(places)))
    return items


def _key(item: Any, key: str) -> str:
    return str(item.get(key)) if isinstance(item, dict) else str(item)
