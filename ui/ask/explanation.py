"""The explanation of an answer, on demand."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from mcqa.asking import Answered
from ui import elements
from ui.ask import exchange as exchanges
from ui.ask.answer import show_error
from ui.ask.exchange import Exchange
from ui.language import duration, number, parts, t
from ui.live import live

SECONDS = 0.5


def show_explanation(exchange: Exchange, answered: Answered) -> None:
    """The button that asks for one, or what is known of it so far."""
    work = exchange.explanation
    if work is not None and work.running:
        _write()
        return
    if work is None or work.error is not None:
        st.button(t("ask.explanation.why"), key="ask why", on_click=exchanges.explain, args=(exchange,))
    if work is None:
        return
    if (error := work.error) is not None:
        show_error(error)
        return
    explained = work.result
    assert explained is not None
    st.subheader(t("ask.explanation.title"))
    _text(explained.text)
    figures = parts("ask.explanation.figures", tokens=number(explained.tokens), seconds=number(explained.seconds, 1))
    elements.paragraph(*figures, key="ask explanation figures")
    if not explained.complete:
        elements.notice("info", t("ask.explanation.cut"), key="ask explanation cut")
    if (explained.version, explained.letter) != (answered.answer.model_version, answered.answer.letter):
        other = parts("ask.explanation.other", version=explained.version, letter=explained.letter)
        elements.notice("warning", *other, key="ask explanation other")


def _text(text: str) -> None:
    blocks: Sequence[str] = [block for block in text.split("\n\n") if block.strip()]
    if not blocks:
        elements.paragraph(t("ask.explanation.empty"), key="ask explanation empty")
    for place, block in enumerate(blocks):
        elements.paragraph(block.strip("\n"), key=f"ask explanation {place}")


@live(SECONDS)
def _write() -> None:
    exchange = exchanges.current()
    work = None if exchange is None else exchange.explanation
    if work is None or not work.running:
        st.rerun()
        return
    elements.paragraph(t("ask.explanation.writing", time=duration(work.seconds)), key="ask writing")
