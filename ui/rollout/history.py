"""A rollout over its time: the share of traffic, each guard's interval against its margin, and the rollouts before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import streamlit as st

from mcqa.readmodels import rollout_history
from mcqa.readmodels.rollout_history import History, Point, RolloutSummary
from ui import charts, elements, facts, theme
from ui.elements import Badge, Cell, Link, Time
from ui.language import number, parts, t
from ui.live import live
from ui.rollout import words

LIVE_SECONDS = 10.0
HEIGHT = 190
_OUTCOMES = {"promoted": "good", "rolled-back": "bad", "ended": "info"}
_BAND, _LINE, _MARGIN = theme.SERIES[5], theme.SERIES[0], theme.SERIES[1]


def read_history(decision: int | None) -> History | None:
    return rollout_history.history(os.environ, decision)


def read_rollouts() -> list[RolloutSummary]:
    return rollout_history.rollouts(os.environ)


@live(LIVE_SECONDS)
def history(decision: int | None) -> None:
    facts_read = facts.read(read_history, decision)
    if facts_read.ok and facts_read.value is None:  # the list of rollouts says so
        return
    st.header(t("rollout.history.title"))
    found = facts.shown(facts_read, t("rollout.part_history"))
    if found is None:
        return
    rollout = found["rollout"]
    versions = {"challenger": rollout["challenger"], "champion": rollout["champion"]}
    caption = parts("rollout.history.caption", **versions, time=Time(rollout["started"]))
    elements.paragraph(*caption, " ", _outcome(rollout), key="history caption")
    _shares(found)
    st.subheader(t("rollout.history.guards_title"))
    if not found["guards"]:
        elements.paragraph(t("rollout.history.unmeasured"), key="history unmeasured")
        return
    elements.paragraph(t("rollout.history.guards_explain"), key="history explain")
    columns = st.columns(2)
    for place, (name, points) in enumerate(found["guards"].items()):
        with columns[place % 2]:
            _guard(name, points)


@live(LIVE_SECONDS)
def past() -> None:
    st.header(t("rollout.past.title"))
    found = facts.shown(facts.read(read_rollouts), t("rollout.part_history"))
    if found is None:
        return
    columns = [t(f"rollout.column.{name}") for name in ("rollout", "outcome", "began", "ended")]
    rows: list[list[Cell]] = []
    for each in found:
        name = t("rollout.past.name", challenger=each["challenger"], champion=each["champion"])
        rows.append([_link(name, each["number"]), _outcome(each), Time(each["started"]), Time(each["ended"])])
    elements.table(
        t("rollout.past.caption"), columns, rows, empty=t("rollout.history.none"), stack=True, key="rollouts past"
    )


def _link(text: str, decision: int) -> Link:
    return Link(text, f"/rollout?decision={decision}")


def _outcome(rollout: RolloutSummary) -> Badge:
    # texts: rollout.outcome.*
    kind: Any = _OUTCOMES.get(rollout["outcome"], "wait")
    return Badge(kind, t(f"rollout.outcome.{rollout['outcome']}"))


def _shares(found: History) -> None:
    shares, challenger = found["shares"], found["rollout"]["challenger"]
    last = shares[-1]["percent"] if shares else 0
    points = [{"at": share["at"] * 1000, "percent": share["percent"]} for share in shares]
    points.append({"at": max(found["until"], shares[-1]["at"] if shares else 0) * 1000, "percent": last})
    scale = charts.time_scale(point["at"] for point in points)
    x = alt.X("at:T", title=None, scale=scale, axis=alt.Axis(tickCount=6))
    y = alt.Y("percent:Q", title=t("rollout.axis.share"), scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=4))
    base = _chart(points).encode(x=x, y=y)
    area = base.mark_area(interpolate="step-after", color=_BAND, opacity=0.35)
    line = base.mark_line(interpolate="step-after", color=_LINE, strokeWidth=2)
    charts.chart(
        alt.layer(area, line).properties(height=HEIGHT),
        alt_text=t("rollout.history.share_alt", challenger=challenger, percent=last),
        columns=[t(f"rollout.column.{name}") for name in ("time", "share", "decision")],
        rows=[
            [Time(share["at"]), f"{share['percent']}%", _link(str(share["decision"]), share["decision"])]
            for share in shares
        ],
        numeric=(1, 2),
        key="share",
    )


def _guard(name: str, points: Sequence[Point]) -> None:
    last = points[-1]
    title = words.guard(name, last["of"])
    elements.heading(3, title, key=f"guard {name} title")
    text = t(
        "rollout.history.guard_alt",
        guard=title,
        worse=words.difference(name, last["worse_by"]),
        interval=words.interval(name, last["low"], last["high"]),
        margin=words.value(name, last["margin"]),
        n=len(points),
    )
    names = ("time", "share", "worse", "interval", "margin", "verdict", "n")
    charts.chart(
        _drawing(name, points),
        alt_text=text,
        columns=[t(f"rollout.column.{column}") for column in names],
        rows=[_row(name, point) for point in reversed(points)],
        numeric=(1, 2, 3, 4, 6),
        key=f"guard {name}",
    )


def _drawing(name: str, points: Sequence[Point]) -> alt.LayerChart | alt.FacetChart:
    """The bounds are cut where they are wider than three margins: early ones would hide the rest."""
    reach = 3 * max(abs(point["margin"] or 0.0) for point in points) or 1.0
    values = [
        {
            "at": point["at"] * 1000,
            "worse": point["worse_by"],
            "low": -reach if point["low"] is None else max(point["low"], -reach),
            "high": reach if point["high"] is None else min(point["high"], reach),
            "margin": point["margin"],
        }
        for point in points
    ]
    form = ".2f" if name == "calibration" else ".0%" if reach > 0.1 else ".1%"
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    axis = alt.Axis(format=form, tickCount=5)
    times = charts.time_scale(1000 * point["at"] for point in points)
    base = _chart(values).encode(x=alt.X("at:T", title=None, scale=times, axis=alt.Axis(tickCount=4)))
    y = alt.Y("low:Q", title=t("rollout.axis.worse"), scale=scale, axis=axis)
    band = base.mark_area(color=_BAND, opacity=0.35, clip=True).encode(y=y, y2="high:Q")
    line = base.mark_line(color=_LINE, strokeWidth=2, clip=True, point=len(values) == 1).encode(y="worse:Q")
    margin = base.mark_line(color=_MARGIN, strokeDash=[6, 4], strokeWidth=2, interpolate="step-after").encode(
        y="margin:Q"
    )
    zero = _chart([{"zero": 0}]).mark_rule(color="gray", opacity=0.6).encode(y="zero:Q")
    return alt.layer(band, zero, line, margin).properties(height=HEIGHT)


def _chart(values: Sequence[Mapping[str, Any]]) -> alt.Chart:
    return charts.of(values)


def _row(name: str, point: Point) -> list[Cell]:
    return [
        Time(point["at"]),
        f"{point['percent']}%",
        words.difference(name, point["worse_by"]),
        words.interval(name, point["low"], point["high"]),
        words.value(name, point["margin"]),
        words.verdict(point["verdict"]),
        f"{number(point['n_challenger'])} / {number(point['n_champion'])}",
    ]
