"""Metrics, confusion matrices and ROC curves as tables, from an artifact's metadata as kfp.dsl writes it. Pure.

What somebody else wrote into the metadata is shown as it is, never an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from local.pipelines.html_rendering import cell, escape, head_cell, row, table, value_html

MAX_CLASSES, MAX_POINTS = 50, 200


def tables(title: str, metadata: Any, *, sliced: bool = True) -> str:
    """The tables of one artifact, under its `title`; "" without metadata."""
    rest = dict(metadata) if isinstance(metadata, Mapping) else {"metadata": metadata}
    parts = [*_confusion_matrix(title, rest), *_roc(title, rest), *(_slices(title, rest) if sliced else ())]
    plain = {name: value for name, value in rest.items() if name != "display_name"}
    if plain:
        rows = [row(head_cell(escape(name)), cell(_number(value), "n wrap")) for name, value in sorted(plain.items())]
        parts.insert(0, table(("name", "value"), rows, title, "numbers"))
    return "".join(parts)


def _confusion_matrix(title: str, rest: dict[str, Any]) -> Iterator[str]:
    matrix = rest.get("confusionMatrix")
    if not isinstance(matrix, Mapping):
        return
    try:
        matrix = matrix.get("struct", matrix)
        names = [str(spec["displayName"]) for spec in matrix["annotationSpecs"]]
        values = [[float(value) for value in line["row"]] for line in matrix["rows"]]
    except (LookupError, TypeError, ValueError, OverflowError):
        return
    if len(names) != len(values) or any(len(line) != len(names) for line in values) or len(names) > MAX_CLASSES:
        return
    del rest["confusionMatrix"]
    rows = [
        row(head_cell(escape(name)), *(cell(f"{value:,.10g}", "n") for value in line))
        for name, line in zip(names, values, strict=True)
    ]
    caption = f"{title}: confusion matrix, a row for each true class"
    yield table(("true ↓ predicted →", *names), rows, caption, "numbers")


def _roc(title: str, rest: dict[str, Any]) -> Iterator[str]:
    points = rest.get("confidenceMetrics")
    if isinstance(points, Mapping):
        points = points.get("list", points.get("struct"))
    if not isinstance(points, list) or not points:
        return
    fields = ("confidenceThreshold", "falsePositiveRate", "recall")
    try:
        values = [[float(point[field]) for field in fields] for point in points]
    except (LookupError, TypeError, ValueError, OverflowError):
        return
    del rest["confidenceMetrics"]
    kept = values[:: max(1, -(-len(values) // MAX_POINTS))]
    left_out = "" if len(kept) == len(values) else f", {len(kept):,} of {len(values):,} points"
    rows = [row(*(cell(f"{value:.4g}", "n") for value in line)) for line in kept]
    heads = ("threshold", "false positive rate", "true positive rate")
    yield table(heads, rows, f"{title}: ROC curve{left_out}", "numbers")


def _slices(title: str, rest: dict[str, Any]) -> Iterator[str]:
    slices = rest.get("evaluationSlices")
    if not isinstance(slices, list) or not all(isinstance(item, Mapping) for item in slices):
        return
    del rest["evaluationSlices"]
    for item in slices[:MAX_CLASSES]:
        name = str(item.get("slice", ""))
        inner = tables(f"{title}: slice {name}", item.get("sliceClassificationMetrics", {}), sliced=False)
        yield inner or table(("slice",), [row(cell(escape(name)))], f"{title}: slice {name}", "numbers")


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value_html(value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
