"""Who sends events of which type and who gets them: drawn from left to right, and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import altair as alt
import streamlit as st

from mcqa.readmodels import event_flow
from mcqa.readmodels.event_flow import EventFlow, TypeFlow
from ui import elements, facts, theme
from ui.charts import chart
from ui.elements import Cell, Code
from ui.events.search import environ
from ui.language import parts, t

SECONDS = 30.0
WIDTH, ROW = 760, 24
"""Pixels: at most so wide, and so high for each type."""
# Where the three columns begin and end, as shares of the width.
_SENDERS, _TYPES_LEFT, _TYPES_RIGHT, _RECEIVERS = 0.25, 0.36, 0.64, 0.8
_WORDS = {
    "KServe's payload logger": "events.sender.logger",
    "clients": "events.sender.clients",
    "PingSource": "events.sender.schedules",
}
"""Producers that are not sources."""


def show_flow() -> None:
    flow = facts.shown(facts.read(_read, seconds=SECONDS), t("events.part.triggers"))
    if flow is None:
        return
    if flow["error"]:
        elements.notice("warning", *parts("events.flow.no_triggers", error=flow["error"]), key="flow no triggers")
    with st.container(width=WIDTH, key="flow-drawing"):
        chart(
            _drawing(flow["types"]),
            alt_text=t("events.flow.title"),
            columns=[t("events.column.type"), t("events.flow.meaning"), t("events.flow.from"), t("events.flow.to")],
            rows=[_row(item) for item in flow["types"]],
            key="event-flow",
        )
    elements.paragraph(t("events.flow.legend"), key="flow legend")


def _read() -> EventFlow:
    return event_flow.read(environ())


def _row(item: TypeFlow) -> list[Cell]:
    consumers = [
        consumer["subscriber"] if consumer["share"] == "all" else t("events.flow.some", name=consumer["subscriber"])
        for consumer in item["consumers"]
    ]
    meaning = f"events.type.{item['type'].replace('.', '-')}"
    return [
        Code(item["type"]),
        t(meaning),  # texts: events.type.*
        ", ".join(map(_sender, item["producers"])),
        ", ".join(consumers) or t("events.flow.nobody"),
    ]


def _sender(producer: str) -> str:
    """A source's last part is the component's name."""
    return t(_WORDS[producer]) if producer in _WORDS else producer.rpartition("/")[2]


def _short(type: str) -> str:
    """Without what all of them have in common: pipelinerun.started."""
    words = type.split(".")
    while words and words[-1].isdigit():
        words.pop()
    return ".".join(words[-2:]).removeprefix("mcqa-")


def _drawing(types: list[TypeFlow]) -> Any:
    """Names in three columns with lines between them; a dashed line: only some of the events."""
    senders = _spread(_sender(producer) for item in types for producer in item["producers"])
    receivers = _spread(consumer["subscriber"] for item in types for consumer in item["consumers"])
    places = _spread(item["type"] for item in types)
    edges = [
        {"x": _SENDERS, "y": senders[_sender(producer)], "x2": _TYPES_LEFT, "y2": places[item["type"]], "share": "all"}
        for item in types
        for producer in item["producers"]
    ]
    edges += [
        {"x": _TYPES_RIGHT, "y": places[item["type"]], "x2": _RECEIVERS, "y2": receivers[consumer["subscriber"]],
         "share": consumer["share"]}
        for item in types
        for consumer in item["consumers"]
    ]  # fmt: skip
    names = [{"name": name, "x": _SENDERS - 0.01, "y": y, "side": "right"} for name, y in senders.items()]
    names += [{"name": _short(name), "x": 0.5, "y": y, "side": "center"} for name, y in places.items()]
    names += [{"name": name, "x": _RECEIVERS + 0.01, "y": y, "side": "left"} for name, y in receivers.items()]
    across = alt.Scale(domain=[0, 1], nice=False)
    down = alt.Scale(domain=[0, 1], nice=False, reverse=True)
    dashes = alt.Scale(domain=["all", "some"], range=[[1, 0], [4, 4]])
    lines = alt.Chart(alt.InlineData(values=edges)).mark_rule(strokeWidth=1.5, opacity=0.7, color="#7a8794").encode(
        x=alt.X("x:Q", scale=across, axis=None), y=alt.Y("y:Q", scale=down, axis=None), x2="x2:Q", y2="y2:Q",
        strokeDash=alt.StrokeDash("share:N", scale=dashes, legend=None),
    )  # fmt: skip
    layers: list[Any] = [lines]
    for align in ("left", "center", "right"):
        of_side = [name for name in names if name["side"] == align]
        text = alt.Chart(alt.InlineData(values=of_side)).mark_text(
            align=align, baseline="middle", fontSize=11, color=_text_color()
        )
        layers.append(
            text.encode(
                x=alt.X("x:Q", scale=across, axis=None),
                y=alt.Y("y:Q", scale=down, axis=None),
                text="name:N",
                tooltip=alt.value(None),
            )
        )
    drawing: Any = alt.layer(*layers).properties(height=ROW * len(types), width="container")
    return drawing.configure_view(strokeWidth=0)


def _text_color() -> str:
    """Vega knows no theme of a page's; no single colour has enough contrast on both."""
    return str(theme.OPTIONS[f"theme.{'dark' if st.context.theme.type == 'dark' else 'light'}.textColor"])


def _spread(names: Iterable[str]) -> dict[str, float]:
    """The different names in their first order, each with its place from 0 to 1."""
    unique = list(dict.fromkeys(names))
    return {name: (place + 0.5) / len(unique) for place, name in enumerate(unique)}
