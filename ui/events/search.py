"""The events that went through the broker, and searching them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlencode

import streamlit as st

from common.event_types import CATALOGUE, PING
from mcqa.readmodels import events, traces
from mcqa.readmodels.events import BrokerEvent, EventSearch
from ui import elements, facts, query
from ui.elements import Cell, Code, Link, Time
from ui.events.rows import trace_link, trace_rows
from ui.language import language, parts, t
from ui.live import live

LIMIT = 50
TYPE, TEXT, BEFORE, TICKS = "type", "text", "before", "ticks"
"""Of the address; a trace has a view of its own. `ticks=1`: with the timers' events, which otherwise hide the rest."""
_MAX_WORDS = 200


def environ() -> Mapping[str, str]:
    return os.environ


def show_search() -> None:
    """The form and what it finds; the address has all of it, so that it can be passed on."""
    wanted = {name: st.query_params.get(name, "")[:_MAX_WORDS] for name in (TYPE, TEXT, BEFORE, TICKS)}
    wanted[BEFORE] = str(query.number(BEFORE, 17).value or "")  # `explain` has reported another
    _form(wanted)
    if not wanted[TYPE]:
        key = f"events {language()} ticks"
        shown = wanted[TICKS] == "1"
        st.checkbox(t("events.search.ticks"), value=shown, key=key, on_change=_choose_ticks, args=(key,))
    if wanted[BEFORE] or wanted[TEXT]:  # older ones do not change, and a text is looked for in many
        _found(wanted, 30.0)
    else:
        _newest(wanted)


def _form(wanted: Mapping[str, str]) -> None:
    types = ["", *(entry.type for entry in CATALOGUE)]
    if wanted[TYPE] and wanted[TYPE] not in types:
        types.append(wanted[TYPE])
    names = {"": t("events.search.any_type")}
    with st.form(f"events search {language()}", border=False):
        one, two, three = st.columns(3)
        kind = one.selectbox(
            t("events.search.type"), types, index=types.index(wanted[TYPE]),
            format_func=lambda name: names.get(name, name),
        )  # fmt: skip
        text = two.text_input(t("events.search.text"), wanted[TEXT], max_chars=_MAX_WORDS)
        trace = three.text_input(t("events.search.trace"), "", max_chars=100)
        if st.form_submit_button(t("events.search.go")):
            given = {TYPE: kind, TEXT: text.strip(), "trace": trace.strip(), TICKS: wanted[TICKS]}
            st.query_params.from_dict({name: value for name, value in given.items() if value})
            st.rerun()


def _choose_ticks(key: str) -> None:
    """The newest again: an older page is another one with other events."""
    st.query_params.pop(BEFORE, None)
    if st.session_state[key]:
        st.query_params[TICKS] = "1"
    else:
        st.query_params.pop(TICKS, None)


@live()
def _newest(wanted: Mapping[str, str]) -> None:
    _found(wanted, facts.SECONDS)


def _found(wanted: Mapping[str, str], seconds: float) -> None:
    kind, text, before = wanted[TYPE], wanted[TEXT], wanted[BEFORE]
    number = int(before) if before.isascii() and before.isdigit() and len(before) < 18 else None
    ticks = bool(kind) or wanted[TICKS] == "1"
    read = facts.read(_search, kind, text, number, ticks, seconds=seconds)
    found = facts.shown(read, t("events.part.broker"))
    if found is None:
        return
    if found["history"] != "here":
        show_no_history(found["history"], found["detail"])
        return
    elements.table(
        t("events.search.found"),
        [t("events.column.number"), t("events.column.arrived"), t("events.column.type"), t("events.column.source"),
         t("events.column.trace")],
        [_row(event) for event in found["events"]],
        empty=t("events.search.nothing"),
        stack=True,
        key="events found",
    )  # fmt: skip
    if found["before"] is not None:
        further = {**wanted, BEFORE: str(found["before"])}
        key = "events.search.older" if len(found["events"]) >= LIMIT else "events.search.further"
        address = urlencode({name: value for name, value in further.items() if value})
        older = Link(t(key), f"/events?{address}")
        elements.paragraph(older, key="events older")


def _search(kind: str, text: str, before: int | None, ticks: bool) -> EventSearch:
    without = None if ticks else PING
    return events.search(environ(), type=kind or None, text=text or None, without=without, before=before, limit=LIMIT)


def _row(event: BrokerEvent) -> list[Cell]:
    attributes = event["attributes"]
    return [
        Link(str(event["seq"]), f"/events?event={event['seq']}"),
        Time(event["arrived"]),
        Code(str(attributes.get("type", ""))),
        str(attributes.get("source", "")),
        trace_link(attributes),
    ]


def show_no_history(history: str, detail: str) -> None:
    """Why there is no list of events, and on a cluster what there is instead."""
    # texts: events.history.*
    kind = "info" if history == "cluster" else "error"
    said: list[Cell] = [" ", *parts("events.history.says", detail=detail)] if detail else []
    elements.notice(kind, t(f"events.history.{history}"), *said, key="events history")  # type: ignore[arg-type]
    read = facts.read(_recent)
    if (rows := facts.shown(read, t("events.part.database"))) is not None:
        trace_rows(t("events.history.instead"), rows, "events instead")


def _recent() -> list[traces.TraceRow]:
    return traces.recent(environ())
