"""Metrics, confusion matrices and curves as tables, from what kfp.dsl writes and from what anybody else could."""

from __future__ import annotations

import re
from typing import Any

import pytest
from kfp import dsl

from local.pipelines.metrics_tables import MAX_POINTS, tables


def shown(html: str) -> list[list[str]]:
    """The cells of all tables, a list a row."""
    rows = re.findall(r"<tr>(.*?)(?=</thead>|<tr>|</tbody>)", html, re.DOTALL)
    return [
        [re.sub(r"<[^>]*>", "", cell) for cell in re.split(r"<t[hd][^>]*>", row)[1:]] for row in rows
    ]  # fmt: skip


def test_numbers() -> None:
    metrics = dsl.Metrics()
    metrics.log_metric("accuracy", 0.75)
    metrics.log_metric("questions", 12345)
    assert shown(tables("t", metrics.metadata)) == [["name", "value"], ["accuracy", "0.75"], ["questions", "12,345"]]


def test_a_confusion_matrix() -> None:
    metrics = dsl.ClassificationMetrics()
    metrics.log_confusion_matrix(["A", "<B>"], [[4, 1], [2, 3]])
    html = tables("step: classes", metrics.metadata)
    assert shown(html) == [["true ↓ predicted →", "A", "&lt;B&gt;"], ["A", "4", "1"], ["&lt;B&gt;", "2", "3"]]
    assert "step: classes: confusion matrix" in html


def test_a_roc_curve() -> None:
    metrics = dsl.ClassificationMetrics()
    metrics.log_roc_curve([0.0, 0.2, 1.0], [0.0, 0.8, 1.0], [1.0, 0.5, 0.0])
    assert shown(tables("t", metrics.metadata)) == [
        ["threshold", "false positive rate", "true positive rate"],
        ["1", "0", "0"], ["0.5", "0.2", "0.8"], ["0", "1", "1"],
    ]  # fmt: skip
    points = [{"confidenceThreshold": n, "falsePositiveRate": 0.1, "recall": 0.2} for n in range(1001)]
    html = tables("t", {"confidenceMetrics": points})
    assert len(shown(html)) - 1 <= MAX_POINTS
    assert "of 1,001 points" in html


def test_slices() -> None:
    inner = {"confidenceMetrics": [{"confidenceThreshold": 1, "falsePositiveRate": 0, "recall": 0}]}
    found = tables("t", {"evaluationSlices": [{"slice": "one"}, {"slice": "two", "sliceClassificationMetrics": inner}]})
    assert "t: slice one" in found
    assert "t: slice two: ROC curve" in found


@pytest.mark.parametrize(
    "metadata",
    [
        {"confusionMatrix": {"annotationSpecs": [{"displayName": "a"}], "rows": [{"row": [1, 2]}]}},
        {"confusionMatrix": {"annotationSpecs": [{"displayName": "a"}], "rows": [{"row": ["x"]}]}},
        {"confusionMatrix": {"annotationSpecs": [{"displayName": "a"}], "rows": [{"row": [10**400]}]}},
        {"confusionMatrix": {"annotationSpecs": 1}},
        {"confusionMatrix": "no"},
        {"confidenceMetrics": [{"recall": 1}]},
        {"confidenceMetrics": [1]},
        {"confidenceMetrics": {"list": "x"}},
        {"evaluationSlices": [1]},
        {"evaluationSlices": [{"slice": "s", "sliceClassificationMetrics": [1]}]},
        {"accuracy": float("nan")},
        {"accuracy": {"nested": ["<b>"]}},
        ["not", "a", "mapping"],
    ],
)
def test_what_is_not_understood_is_shown_as_it_is(metadata: Any) -> None:
    html = tables("t", metadata)
    assert html.startswith("<div")
    assert "<b>" not in html


def test_nothing_without_metadata() -> None:
    assert tables("t", {}) == ""
    assert tables("t", {"display_name": "x"}) == ""
