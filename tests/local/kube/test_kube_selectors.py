"""Label selectors and field selectors."""

from __future__ import annotations

import pytest

from local.kube import selectors
from local.kube.errors import StatusError

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
def test_label_selectors(selector: str, accepted: bool) -> None:
    assert selectors.label_selector(selector)(LABELLED) is accepted


@pytest.mark.parametrize(
    ("selector", "accepted"),
    [("metadata.name=n", True), ("metadata.name!=n", False), ("metadata.name=n,metadata.namespace=x", False)],
)
def test_field_selectors(selector: str, accepted: bool) -> None:
    assert selectors.field_selector(selector, "ConfigMap")(LABELLED) is accepted


@pytest.mark.parametrize("selector", ["a in 1", "a=(", "=x", "a in (1", "a b"])
def test_no_label_selector(selector: str) -> None:
    with pytest.raises(StatusError, match="unable to parse"):
        selectors.label_selector(selector)
