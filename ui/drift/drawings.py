"""The page's charts. The baseline is bars, the window a line or ticks: they can be told apart without colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from mcqa.readmodels.drift_accuracy import Point
from mcqa.readmodels.drift_distributions import Bin, LetterShare
from ui import charts
from ui.charts import Drawing
from ui.language import t
from ui.theme import SERIES

HEIGHT = 260
"""Pixels, with legend, axis and title: about half of it is the drawing."""


def distribution(bins: Sequence[Bin], name: str) -> Drawing:
    """Both shares by the feature's value."""
    rows = [
        {"low": b["low"], "high": b["high"], "share": b["baseline"], "zero": 0.0, "side": t("drift.side.baseline")}
        for b in bins
    ]
    if len(bins) == 1 and bins[0]["low"] == bins[0]["high"]:
        rows[0] |= {"low": bins[0]["low"] - 0.5, "high": bins[0]["high"] + 0.5}
    line = [{"low": b["low"], "share": b["current"], "side": t("drift.side.current")} for b in _closed(bins)]
    x = alt.X("low:Q", title=name, axis=alt.Axis(tickCount=5, labelFlush=True), scale=alt.Scale(zero=False, nice=False))
    bars = charts.of(rows).mark_rect(opacity=0.45)
    steps = charts.of(line).mark_line(interpolate="step-after", strokeWidth=2.5)
    drawn = alt.layer(
        bars.encode(x=x, x2="high:Q", y=_share(), y2="zero:Q", color=_sides()),
        steps.encode(x=x, y=_share(), color=_sides()),
    )
    return drawn.properties(height=HEIGHT)


def _closed(bins: Sequence[Bin]) -> list[dict[str, float]]:
    """The window's steps with the end of the last one."""
    steps = [{"low": b["low"], "current": b["current"]} for b in bins]
    last = bins[-1]
    if len(bins) == 1 and last["low"] == last["high"]:
        return [
            {"low": last["low"] - 0.5, "current": last["current"]},
            {"low": last["low"] + 0.5, "current": last["current"]},
        ]
    return [*steps, {"low": last["high"], "current": last["current"]}]


def letters(shares: Sequence[LetterShare], name: str) -> Drawing:
    """Both shares by letter."""
    bars = [{"letter": s["letter"], "share": s["baseline"], "side": t("drift.side.baseline")} for s in shares]
    marks = [{"letter": s["letter"], "share": s["current"], "side": t("drift.side.current")} for s in shares]
    x = alt.X("letter:N", title=name, axis=alt.Axis(labelAngle=0), sort=None)
    drawn = alt.layer(
        charts.of(bars).mark_bar(opacity=0.45).encode(x=x, y=_share(), color=_sides()),
        charts.of(marks).mark_tick(thickness=3, width=28).encode(x=x, y=_share(), color=_sides()),
    )
    return drawn.properties(height=HEIGHT)


def accuracy(points: Sequence[Point], versions: Sequence[str]) -> Drawing:
    """Labelled shares as points with intervals, the estimate as a line with its band; versions by colour and shape."""
    rows = [_milliseconds(point) for point in points]
    names = [t("drift.version", version=version) for version in versions]
    colour = alt.Color(
        "name:N", title=None, scale=alt.Scale(domain=names, range=list(SERIES[: len(names)])), legend=_legend()
    )
    times = charts.time_scale(row["at"] for row in rows)
    x = alt.X("at:T", title=None, scale=times, axis=alt.Axis(tickCount=6, labelOverlap=True))
    scale = alt.Scale(domain=[0, 1])
    y: dict[str, Any] = {"scale": scale, "title": t("drift.accuracy.axis"), "axis": alt.Axis(format="%", tickCount=5)}
    estimated = charts.of([row for row in rows if row["estimated"] is not None])
    labelled = charts.of([row for row in rows if row["accuracy"] is not None])
    shape = alt.Shape("name:N", title=None, scale=alt.Scale(domain=names), legend=_legend())
    drawn = alt.layer(
        estimated.mark_area(opacity=0.18).encode(
            x=x, y=alt.Y("estimated_low:Q", **y), y2="estimated_high:Q", color=colour
        ),
        estimated.mark_line(strokeDash=[5, 3]).encode(x=x, y=alt.Y("estimated:Q", **y), color=colour),
        labelled.mark_rule(strokeWidth=1.5).encode(
            x=x, y=alt.Y("accuracy_low:Q", **y), y2="accuracy_high:Q", color=colour
        ),
        labelled.mark_point(filled=True, size=70, opacity=1).encode(
            x=x, y=alt.Y("accuracy:Q", **y), color=colour, shape=shape
        ),
    )
    return drawn.properties(height=300)


def _milliseconds(point: Point) -> dict[str, Any]:
    """In the middle of its step."""
    middle = (point["at"] + point["until"]) / 2
    return {**point, "at": 1000 * middle, "name": t("drift.version", version=point["version"])}


def _share() -> alt.Y:
    return alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=4), scale=alt.Scale(zero=True))


def _sides() -> alt.Color:
    domain = [t("drift.side.baseline"), t("drift.side.current")]
    return alt.Color("side:N", title=None, scale=alt.Scale(domain=domain, range=list(SERIES[:2])), legend=_legend())


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", direction="horizontal")
