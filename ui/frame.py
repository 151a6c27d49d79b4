"""The frame around the pages: navigation, language, sign-in, and how old what is shown is.

`main` is run again whenever a viewer does something.
"""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from ui import elements, facts
from ui.elements import Code
from ui.language import LANGUAGES, choose, language, parts, t
from ui.live import SECONDS, live, recovers
from ui.pages import PAGES, UNKNOWN
from ui.settings import read_settings

_MOST_SHOWN = 60
ICON = Path(__file__).parent / "icon.svg"


def main() -> None:
    st.set_page_config(page_title=t("app.title"), page_icon=ICON.read_text("utf-8"), layout="wide")
    settings = read_settings(os.environ)
    if settings.login == "oidc" and not st.user.is_logged_in:
        _language_switch()
        st.title(t("app.title"))
        elements.paragraph(t("app.sign_in_first"))
        st.button(t("app.sign_in"), on_click=st.login)
        return
    pages = [
        st.Page(render, title=t(f"app.page.{name}"), url_path=name, default=place == 0)
        for place, (name, render) in enumerate(PAGES.items())
    ]
    chosen = st.navigation(pages, position="top")
    st.set_page_config(page_title=f"{chosen.title} · {t('app.title')}")
    _header(settings.login == "oidc")
    if path := st.query_params.get(UNKNOWN, ""):
        elements.notice("warning", *parts("app.no_such_page", path=Code(path[:_MOST_SHOWN])), key="no such page")
    with facts.page_run() as missed:
        chosen.run()
    if missed:
        recovers(missed)


def _header(signed_in: bool) -> None:
    age, who, switch = st.columns([5, 3, 2], vertical_alignment="center")
    with age:
        _age()
    if signed_in:
        with who:
            elements.paragraph(t("app.signed_in", who=str(st.user.get("email") or st.user.get("sub") or "")))
            st.button(t("app.sign_out"), on_click=st.logout)
    with switch:
        _language_switch()


def _language_switch() -> None:
    codes = list(LANGUAGES)
    current = language()
    picked = st.selectbox(
        t("app.language"), codes, index=codes.index(current), format_func=LANGUAGES.__getitem__,
        key="language switch", label_visibility="collapsed",
    )  # fmt: skip
    if picked != current:
        choose(picked)
        st.query_params["lang"] = picked
        st.rerun()
    if st.query_params.get("lang") != current and (current != "en" or "lang" in st.query_params):
        st.query_params["lang"] = current  # a page's own address carries it on


@live(SECONDS)
def _age() -> None:
    elements.freshness(SECONDS)
