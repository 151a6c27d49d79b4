"""The JSONPath of printer columns."""

from __future__ import annotations

from local.kube import jsonpath


def test_jsonpath() -> None:
    value = {"a": [{"t": "x", "v": 1}, {"t": "y", "v": True}], "m": {"k.d/e": "z"}}
    assert jsonpath.first(value, ".a[?(@.t=='y')].v") is True
    assert jsonpath.first(value, ".a[?(@.v==true)].t") == "y"
    assert jsonpath.first(value, ".a[*].v") == 1
    assert jsonpath.first(value, ".a[1].t") == "y"
    assert jsonpath.first(value, ".m['k\\.d/e']") == "z"
    assert jsonpath.first(value, ".none.at[0].all") is None
