"""JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from local.kube import patches
from local.kube.errors import StatusError


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy(target)
    assert patches.merge_patch(target, patch) == result
    assert target == before


@pytest.mark.parametrize(
    ("patch", "ports"),
    [
        ({"ports": [{"port": 80, "name": "web"}]}, [{"port": 80, "name": "web"}, {"port": 81}]),
        ({"ports": [{"port": 82}]}, [{"port": 80}, {"port": 81}, {"port": 82}]),
        ({"ports": [{"port": 80, "$patch": "delete"}]}, [{"port": 81}]),
        ({"ports": [{"$patch": "replace"}, {"port": 9}]}, [{"port": 9}]),
        (
            {"ports": [{"port": 9}], "$setElementOrder/ports": [{"port": 9}, {"port": 81}, {"port": 80}]},
            [{"port": 9}, {"port": 81}, {"port": 80}],
        ),
    ],
)
def test_strategic_merge_of_keyed_lists(patch: Any, ports: Any) -> None:
    assert patches.strategic_merge({"ports": [{"port": 80}, {"port": 81}]}, patch)["ports"] == ports


def test_strategic_merge_directives() -> None:
    target = {"metadata": {"finalizers": ["a", "b"]}, "data": {"x": "1", "y": "2"}}
    gone = patches.strategic_merge(target, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})
    assert gone["metadata"]["finalizers"] == ["b"]
    replaced = patches.strategic_merge(target, {"data": {"$patch": "replace", "z": "3"}})
    assert replaced["data"] == {"z": "3"}
    assert patches.strategic_merge(target, {"data": {"$retainKeys": ["y"], "y": "5"}})["data"] == {"y": "5"}


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({}, 400),
        ([{"op": "jump", "path": "/a"}], 400),
        ([{"path": "/a"}], 400),
        ([1], 400),
        ([{"op": "remove", "path": "/none"}], 422),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "replace", "path": "/b/c/d", "value": 2}], 422),
    ],
)
def test_json_patches_that_do_not_apply(patch: Any, code: int) -> None:
    with pytest.raises(StatusError) as caught:
        patches.json_patch({"a": 1}, patch)
    assert caught.value.code == code
