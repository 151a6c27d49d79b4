"""Charts with what a reader without eyes or colours needs: a description, and the same figures as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import altair as alt
import streamlit as st

from ui import elements
from ui.elements import Cell
from ui.language import t

MINUTE = 60_000.0
Drawing = alt.LayerChart | alt.FacetChart


def of(values: Iterable[Mapping[str, Any]]) -> alt.Chart:
    """A chart of rows; Altair would otherwise want a data frame."""
    return alt.Chart(alt.Data(values=list(values)))  # type: ignore[no-untyped-call]


def time_scale(milliseconds: Iterable[float]) -> alt.Scale:
    """Of a time axis, given: Streamlit sends the data after the chart, and Vega warns of what has no extent yet.

    Rounded to a thirtieth or so: with each new scale a chart is drawn from scratch.
    """
    first, last = min(found := list(milliseconds)), max(found)
    step = MINUTE * 2 ** max(0, math.ceil(math.log2(max(last - first, 1.0) / (30 * MINUTE))))
    begin, end = math.floor(first / step) * step, math.ceil(last / step) * step
    # As texts: of numbers Streamlit's Vega makes another time.
    ends = (datetime.fromtimestamp(at / 1000, UTC).isoformat() for at in (begin, max(end, begin + step)))
    return alt.Scale(domain=list(ends))


def chart(
    drawing: alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart | alt.HConcatChart,
    *,
    alt_text: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    key: str,
    numeric: Sequence[int] = (),
) -> None:
    """`alt_text` says what is drawn; `rows` are the figures behind it. Temporal fields take Unix milliseconds."""
    options: dict[str, Any] = {"alt": alt_text} if alt_text else {}
    st.altair_chart(drawing, key=f"{key} chart", **options)
    with st.expander(t("app.as_table"), key=f"{key} table"):
        elements.table(alt_text, columns, rows, numeric=numeric, key=f"{key} rows")
