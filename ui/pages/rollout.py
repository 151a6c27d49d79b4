"""Rollout: champion against challenger, what decides between them, the log of decisions, and the operator's actions."""

from __future__ import annotations

import streamlit as st

from ui.language import t
from ui.rollout.current import current
from ui.rollout.history import history, past
from ui.rollout.log import decision, log


def render() -> None:
    st.title(t("app.page.rollout"))
    number = _asked()
    if number is not None:
        decision(number)
    current()
    history(number)
    past()
    log()


def _asked() -> int | None:
    """`/rollout?decision=12`: that decision first, and the charts of its rollout."""
    text = st.query_params.get("decision", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
