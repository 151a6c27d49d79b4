"""Events: what went through the broker, an event's way, a trace, who listens to what, dead letters."""

from __future__ import annotations

import streamlit as st

from ui.events.detail import show_event, show_trace
from ui.events.flow import show_flow
from ui.events.letters import show_letter, show_letters
from ui.events.search import show_search
from ui.language import language, t

VIEWS = ("search", "letters", "flow")
MAX_LENGTH = 200
"""Of a value in the address: what was read is kept by it."""


def render() -> None:
    st.title(t("app.page.events"))
    query = st.query_params
    if (number := query.get("event", "")).isascii() and number.isdigit() and len(number) < 18:
        show_event(int(number))
    elif trace := query.get("trace", "")[:MAX_LENGTH]:
        show_trace(trace)
    elif letter := query.get("letter", "")[:MAX_LENGTH]:
        show_letter(letter)
    else:
        _views(query.get("view", ""))


def _views(named: str) -> None:
    """One at a time: what is not looked at is not read."""
    labels = {"search": t("events.view.search"), "letters": t("events.view.letters"), "flow": t("events.view.flow")}
    key = f"events {language()} view"
    view = st.radio(
        t("events.view.label"), VIEWS, index=VIEWS.index(named) if named in VIEWS else 0, horizontal=True,
        format_func=labels.__getitem__, label_visibility="collapsed", key=key, on_change=_choose, args=(key,),
    )  # fmt: skip
    {"search": show_search, "letters": show_letters, "flow": show_flow}[view]()


def _choose(key: str) -> None:
    """The address names the view, so that it can be passed on."""
    st.query_params.from_dict({"view": st.session_state[key]})
