from __future__ import annotations

import streamlit as st

from ui.language import t


def render() -> None:
    st.title(t("app.page.pipelines"))
