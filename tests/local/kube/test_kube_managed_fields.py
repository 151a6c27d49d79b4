"""Field ownership, and server-side apply over it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from local.kube import managed_fields
from local.kube.errors import StatusError


def item(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def applied(live: Any, config: Any, who: str, force: bool = False) -> dict[str, Any]:
    return managed_fields.apply(live, config, managed_fields.FieldManager(who, "Apply"), "now", force=force)


def test_apply_removes_what_its_manager_leaves_out() -> None:
    live = applied(None, item(a=1, b={"c": 1}), "one")
    live = applied(live, item(a=1), "one")
    assert live["spec"] == {"a": 1}


def test_apply_keeps_what_others_own_too() -> None:
    live = applied(None, item(a=1, b=2), "one")
    live = applied(live, item(b=2), "two")
    live = applied(live, item(a=1), "one")
    assert live["spec"] == {"a": 1, "b": 2}
    assert applied(live, item(), "two")["spec"] == {"a": 1}


def test_apply_conflicts_and_forces() -> None:
    live = applied(None, item(a=1), "one")
    with pytest.raises(StatusError) as caught:
        applied(live, item(a=2), "two")
    assert (caught.value.code, caught.value.details["causes"][0]["field"]) == (409, ".spec.a")
    live = applied(live, item(a=2), "two", force=True)
    assert live["spec"] == {"a": 2}
    assert [who.name for who in managed_fields.owned_fields(live)] == ["two"]


def test_apply_conflicts_with_a_list_that_an_object_replaces() -> None:
    live = applied(None, item(a=[1]), "one")
    with pytest.raises(StatusError, match="conflict"):
        applied(live, item(a={"b": 1}), "two")


def test_an_update_takes_over_what_it_changes() -> None:
    live = applied(None, item(a=1, b=1), "one")
    new = {**copy.deepcopy(live), "spec": {"a": 2, "b": 1}}
    new = managed_fields.update(live, new, managed_fields.FieldManager("two"), "now")
    owned = {who.name: paths for who, paths in managed_fields.owned_fields(new).items()}
    assert owned == {"one": {("spec", "b")}, "two": {("spec", "a")}}
    assert managed_fields.update(new, new, managed_fields.FieldManager("three"), "later") == new


def test_field_sets_survive_encoding() -> None:
    paths = {("metadata", "labels", "a.b/c"), ("spec", "x"), ("spec", "y", "z")}
    assert managed_fields.decode_fields_v1(managed_fields.encode_fields_v1(paths)) == paths
