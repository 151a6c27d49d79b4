"""Charts with what a reader without eyes or colours needs: a description, and the same figures as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import streamlit as st

from ui import elements
from ui.elements import Cell
from ui.language import t

Drawing = alt.LayerChart | alt.FacetChart


def of(values: Iterable[Mapping[str, Any]]) -> alt.Chart:
    """A chart of rows; Altair would otherwise want a data frame."""
    return alt.Chart(alt.Data(values=list(values)))  # type: ignore[no-untyped-call]


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
