"""One event with its data and its way through its Triggers; and all that is known of one trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from common.trace_context import trace_id
from mcqa.readmodels import events, traces
from ui import elements, facts
from ui.elements import Badge, Cell, Code, Link, Time
from ui.events.data import show_data, with_shown_data
from ui.events.rows import trace_link, trace_rows
from ui.events.search import environ, show_no_history
from ui.language import has, parts, t
from ui.live import live

TRACE_LIMIT = 200


@live()
def show_event(seq: int) -> None:
    elements.paragraph(Link(t("events.back"), "/events"), key="events back")
    found = facts.shown(facts.read(_event, seq), t("events.part.broker"))
    if found is None:
        return
    if found["history"] != "here":
        show_no_history(found["history"], found["detail"])
        return
    if (stored := found["event"]) is None:
        elements.notice("warning", *parts("events.event.gone", number=seq), key="event gone")
        return
    st.header(t("events.event.title", n=seq))
    _attributes(stored)
    _way(stored)
    st.subheader(t("events.event.data"))
    show_data(stored["data"])


def _event(seq: int) -> events.EventDetail:
    found = events.event(environ(), seq)
    return {**found, "event": None if found["event"] is None else with_shown_data(found["event"])}


def _attributes(stored: Mapping[str, Any]) -> None:
    event = stored["event"]
    kind = str(event.get("type", ""))
    meaning = f"events.type.{kind.replace('.', '-')}"  # texts: events.type.*
    shown: dict[str, Cell] = {
        t("events.column.type"): [Code(kind), *([" ", t(meaning)] if has(meaning) else [])],
        t("events.column.source"): Code(str(event.get("source", ""))),
        t("events.event.id"): Code(str(event.get("id", ""))),
        t("events.column.arrived"): Time(stored["arrived"]),
        t("events.column.trace"): trace_link(event),
    }
    if stored.get("reply_to"):
        shown[t("events.event.reply_to")] = _numbered(stored["reply_to"])
    elements.details(shown, key="event attributes")
    with st.expander(t("events.event.attributes"), key="event all"):
        elements.table(
            t("events.event.attributes"),
            [t("events.event.attribute"), t("events.event.value")],
            [[Code(name), str(value)] for name, value in event.items()],
            hide_caption=True,
            key="event all rows",
        )


def _way(stored: Mapping[str, Any]) -> None:
    elements.table(
        t("events.way.title"),
        [t("events.way.trigger"), t("events.way.state"), t("events.way.attempts"), t("events.way.status"),
         t("events.way.finished"), t("events.way.then")],
        [_delivery(delivery) for delivery in stored["deliveries"]],
        empty=t("events.way.nobody"),
        numeric=(2, 3),
        stack=True,
        key="event way",
    )  # fmt: skip


def _delivery(delivery: Mapping[str, Any]) -> list[Cell]:
    state = delivery["state"]
    kinds = {"delivered": "good", "pending": "wait", "dead_lettering": "warn", "dead_lettered": "warn", "dead": "bad"}
    then: list[Cell] = []
    if delivery.get("reply"):
        then += [*parts("events.way.replied", event=_numbered(delivery["reply"])), " "]
    if state == "pending" and delivery.get("due"):
        then += [*parts("events.way.again", at=Time(delivery["due"], "time")), " "]
    if delivery.get("dead_letter") and state == "dead":
        then += [Link(t("events.way.kept"), f"/events?letter={delivery['dead_letter']}"), " "]
    if delivery.get("error"):
        then.append(str(delivery["error"]))
    return [
        Code(str(delivery["trigger"]).rpartition("/")[2]),
        Badge(kinds.get(state, "info"), t(f"events.state.{state}")),  # type: ignore[arg-type]  # texts: events.state.*
        delivery["attempts"],
        delivery["status"],
        Time(delivery["finished"]),
        then or None,
    ]


def _numbered(seq: int) -> Link:
    return Link(str(seq), f"/events?event={seq}")


@live()
def show_trace(trace: str) -> None:
    elements.paragraph(Link(t("events.back"), "/events"), key="events back")
    if (found := trace_id(trace)) is None:
        elements.notice("error", *parts("events.trace.none", trace=trace[:100]), key="trace none")
        return
    st.header(t("events.trace.title"))
    elements.paragraph(Code(found), key="trace id")
    _trace_events(found)
    rows = facts.shown(facts.read(_rows, found), t("events.part.database"))
    if rows is not None:
        trace_rows(t("events.trace.database"), rows, "trace rows")
    elements.paragraph(t("events.trace.spans"), key="trace spans")


def _trace_events(trace: str) -> None:
    found = facts.shown(facts.read(_events, trace), t("events.part.broker"))
    if found is None:
        return
    if found["history"] != "here":
        kind = "info" if found["history"] == "cluster" else "error"
        elements.notice(kind, t(f"events.history.{found['history']}"), key="trace history")  # type: ignore[arg-type]
        return
    elements.table(
        t("events.trace.events"),
        [t("events.column.number"), t("events.column.arrived"), t("events.column.type"), t("events.column.source")],
        [
            [
                Link(str(event["seq"]), f"/events?event={event['seq']}"),
                Time(event["arrived"]),
                Code(str(event["attributes"].get("type", ""))),
                str(event["attributes"].get("source", "")),
            ]
            for event in reversed(found["events"])
        ],
        empty=t("events.trace.no_events"),
        stack=True,
        key="trace events",
    )


def _events(trace: str) -> events.EventSearch:
    return events.search(environ(), trace=trace, limit=TRACE_LIMIT)


def _rows(trace: str) -> list[traces.TraceRow]:
    return traces.rows(environ(), trace)
