"""Events: what went through the broker, an event's way, a trace, who listens to what, dead letters."""

from __future__ import annotations

import streamlit as st

from ui.events.detail import show_event, show_trace
from ui.events.flow import show_flow
from ui.events.letters import show_letter, show_letters
from ui.events.search import show_search
from ui.language import t

VIEWS = ("search", "letters", "flow")


def render() -> None:
    st.title(t("app.page.events"))
    query = st.query_params
    if (number := query.get("event", "")).isascii() and number.isdigit() and len(number) < 18:
        show_event(int(number))
    elif trace := query.get("trace"):
        show_trace(trace)
    elif letter := query.get("letter"):
        show_letter(letter)
    else:
        _views(query.get("view", ""))


def _views(named: str) -> None:
    default = t(f"events.view.{named if named in VIEWS else VIEWS[0]}")
    search, letters, flow = st.tabs(
        [t("events.view.search"), t("events.view.letters"), t("events.view.flow")], default=default
    )
    with search:
        show_search()
    with letters:
        show_letters()
    with flow:
        show_flow()
