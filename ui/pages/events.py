"""Events: what went through the broker, an event's way, a trace, who listens to what, dead letters."""

from __future__ import annotations

import streamlit as st

from ui import query
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
    address = st.query_params
    event, before = query.number("event", 17), query.number("before", 17)
    query.explain(event, before)
    if event.value is not None:
        show_event(event.value)
    elif trace := address.get("trace", "")[:MAX_LENGTH]:
        show_trace(trace)
    elif letter := address.get("letter", "")[:MAX_LENGTH]:
        show_letter(letter)
    else:
        _views(address.get("view", ""))


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
