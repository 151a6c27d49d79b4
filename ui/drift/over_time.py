"""Estimated and labelled accuracy over time, by version."""

from __future__ import annotations

import streamlit as st

from mcqa.readmodels.drift_accuracy import SPANS, Accuracy, Point, Span
from ui import charts, elements, facts
from ui.drift import drawings, readers
from ui.elements import Cell, Link, Time
from ui.language import number, parts, percent, t
from ui.live import live

SECONDS = 30.0


@live(SECONDS)
def over_time() -> None:
    st.header(t("drift.accuracy.title"))
    elements.paragraph(t("drift.accuracy.what"), key="drift accuracy what")
    span: Span = st.selectbox(
        t("drift.accuracy.span"), list(SPANS), index=1, format_func=_span, key="drift accuracy span", width=320
    )
    found = facts.shown(facts.read(readers.accuracy, span, _ahead(), seconds=SECONDS), t("drift.part.accuracy"))
    if found is None:
        return
    if not found["points"]:
        elements.paragraph(t("drift.accuracy.none"), key="drift accuracy none")
        return
    if found["complete_since"] is not None:
        elements.notice(
            "info", *parts("drift.accuracy.cut", time=Time(found["complete_since"])), key="drift accuracy cut"
        )
    _chart(found)


def _chart(found: Accuracy) -> None:
    names = ["from", "version", "labelled", "labels", "estimated", "answers"]
    charts.chart(
        drawings.accuracy(found["points"], found["versions"]),
        alt_text=t("drift.accuracy.alt", n=len(found["versions"])),
        columns=[t(f"drift.accuracy.{name}") for name in names],  # texts: drift.accuracy.*
        rows=[_row(point, found["step"]) for point in reversed(found["points"])],
        numeric=(2, 3, 4, 5),
        key="drift accuracy",
    )


def _row(point: Point, step: float) -> list[Cell]:
    version = Link(t("drift.version", version=point["version"]), f"/versions?version={point['version']}")
    when = Time(point["at"], "date" if step >= 86_400 else "datetime")
    labelled = _interval(point["accuracy"], point["accuracy_low"], point["accuracy_high"])
    estimated = _interval(point["estimated"], point["estimated_low"], point["estimated_high"])
    return [when, version, labelled, number(point["labels"]), estimated, number(point["n"])]


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    return "—" if value is None else f"{percent(value)} [{percent(low)}, {percent(high)}]"


def _span(span: str) -> str:
    return t(f"drift.span.{span}")  # texts: drift.span.*


def _ahead() -> float:
    """Seconds by which the viewer's zone is ahead of UTC: a day there is the viewer's."""
    return -60.0 * (st.context.timezone_offset or 0)
