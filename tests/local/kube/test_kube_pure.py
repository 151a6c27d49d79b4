"""The pure parts: patches, selectors, field ownership, tables, protobuf, structural checks."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.kube import jsonpath, managed_fields, patches, protobuf, schema_validation, selectors, tables
from local.kube.errors import StatusError
from local.kube.resources import RESOURCES
from local.kube.schemas import SCHEMAS


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
def test_merge_patch(target, patch, result):
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
def test_strategic_merge_of_keyed_lists(patch, ports):
    assert patches.strategic_merge({"ports": [{"port": 80}, {"port": 81}]}, patch)["ports"] == ports


def test_strategic_merge_directives():
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
def test_json_patches_that_do_not_apply(patch, code):
    with pytest.raises(StatusError) as caught:
        patches.json_patch({"a": 1}, patch)
    assert caught.value.code == code


LABELLED = {"metadata": {"name": "n", "namespace": "d", "labels": {"a": "1", "b": ""}}}


@pytest.mark.parametrize(
    ("selector", "accepted"),
    [
        ("a=1", True),
        ("a==1,b=", True),
        ("a!=1", False),
        ("c!=1", True),
        ("a in (1, 2)", True),
        ("a in (2),b", False),
        ("a notin (2),b", True),
        ("c notin (1)", True),
        ("a", True),
        ("!a", False),
        ("!c", True),
    ],
)
def test_label_selectors(selector, accepted):
    assert selectors.label_selector(selector)(LABELLED) is accepted


@pytest.mark.parametrize(
    ("selector", "accepted"),
    [("metadata.name=n", True), ("metadata.name!=n", False), ("metadata.name=n,metadata.namespace=x", False)],
)
def test_field_selectors(selector, accepted):
    assert selectors.field_selector(selector, "ConfigMap")(LABELLED) is accepted


@pytest.mark.parametrize("selector", ["a in 1", "a=(", "=x", "a in (1", "a b"])
def test_no_label_selector(selector):
    with pytest.raises(StatusError, match="unable to parse"):
        selectors.label_selector(selector)


def item(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def applied(live: Any, config: Any, who: str, force: bool = False) -> dict[str, Any]:
    return managed_fields.apply(live, config, managed_fields.FieldManager(who, "Apply"), "now", force=force)


def test_apply_removes_what_its_manager_leaves_out():
    live = applied(None, item(a=1, b={"c": 1}), "one")
    live = applied(live, item(a=1), "one")
    assert live["spec"] == {"a": 1}


def test_apply_keeps_what_others_own_too():
    live = applied(None, item(a=1, b=2), "one")
    live = applied(live, item(b=2), "two")
    live = applied(live, item(a=1), "one")
    assert live["spec"] == {"a": 1, "b": 2}
    assert applied(live, item(), "two")["spec"] == {"a": 1}


def test_apply_conflicts_and_forces():
    live = applied(None, item(a=1), "one")
    with pytest.raises(StatusError) as caught:
        applied(live, item(a=2), "two")
    assert (caught.value.code, caught.value.details["causes"][0]["field"]) == (409, ".spec.a")
    live = applied(live, item(a=2), "two", force=True)
    assert live["spec"] == {"a": 2}
    assert [who.name for who in managed_fields.owned_fields(live)] == ["two"]


def test_apply_conflicts_with_a_list_that_an_object_replaces():
    live = applied(None, item(a=[1]), "one")
    with pytest.raises(StatusError, match="conflict"):
        applied(live, item(a={"b": 1}), "two")


def test_an_update_takes_over_what_it_changes():
    live = applied(None, item(a=1, b=1), "one")
    new = {**copy.deepcopy(live), "spec": {"a": 2, "b": 1}}
    new = managed_fields.update(live, new, managed_fields.FieldManager("two"), "now")
    owned = {who.name: paths for who, paths in managed_fields.owned_fields(new).items()}
    assert owned == {"one": {("spec", "b")}, "two": {("spec", "a")}}
    assert managed_fields.update(new, new, managed_fields.FieldManager("three"), "later") == new


def test_field_sets_survive_encoding():
    paths = {("metadata", "labels", "a.b/c"), ("spec", "x"), ("spec", "y", "z")}
    assert managed_fields.decode_fields_v1(managed_fields.encode_fields_v1(paths)) == paths


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (3600, "60m"),
        (10_800, "3h"),
        (11_100, "3h5m"),
        (100_000, "27h"),
        (180_000, "2d2h"),
        (800_000, "9d"),
    ],
)
def test_ages_as_kubectl_writes_them(seconds, text):
    now = datetime.now(UTC)
    assert tables.age((now - timedelta(seconds=seconds)).isoformat(), now) == text


def test_jsonpath():
    value = {"a": [{"t": "x", "v": 1}, {"t": "y", "v": True}], "m": {"k.d/e": "z"}}
    assert jsonpath.first(value, ".a[?(@.t=='y')].v") is True
    assert jsonpath.first(value, ".a[?(@.v==true)].t") == "y"
    assert jsonpath.first(value, ".a[*].v") == 1
    assert jsonpath.first(value, ".a[1].t") == "y"
    assert jsonpath.first(value, ".m['k\\.d/e']") == "z"
    assert jsonpath.first(value, ".none.at[0].all") is None


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.qualified)
def test_every_kind_prints_without_a_status(resource):
    found = tables.table(resource, [{"metadata": {"name": "x"}}], {}, whole=False)
    assert len(found["rows"][0]["cells"]) == len(found["columnDefinitions"]) >= 2


def test_unknown_fields_are_pruned_and_types_named():
    schema = SCHEMAS["serving.knative.dev", "Service"]
    body = {"spec": {"template": {"spec": {"containers": [{"image": "x", "imge": 1}]}}}, "oops": 1}
    assert schema_validation.prune(body, schema) == ["spec.template.spec.containers[0].imge", "oops"]
    assert body == {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}
    wrong = {"spec": {"template": {"spec": {"containerConcurrency": True, "containers": {}}}}}
    assert [path for path, _ in schema_validation.type_errors(wrong, schema)] == [
        "spec.template.spec.containerConcurrency",
        "spec.template.spec.containers",
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"k8s\x00", b"k8s\x00\x0a\x7f", b"k8s\x00" + b"\xff" * 40, b"{}", b"k8s\x00\x0a\x04\x12\x02Po\x12\x00"],
)
def test_protobuf_that_is_none(body):
    with pytest.raises(StatusError) as caught:
        protobuf.decode(body)
    assert caught.value.code == 415
