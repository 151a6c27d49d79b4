"""Rollout: champion against challenger, what decides between them, the log of decisions, and the operator's actions."""

from __future__ import annotations

import streamlit as st

from ui import query
from ui.language import t
from ui.rollout.current import current
from ui.rollout.history import history, past
from ui.rollout.log import decision, log


def render() -> None:
    st.title(t("app.page.rollout"))
    asked = query.number("decision", 15)  # that decision first, and the charts of its rollout
    query.explain(asked)
    if asked.value is not None:
        decision(asked.value)
    current()
    history(asked.value)
    past()
    log()
