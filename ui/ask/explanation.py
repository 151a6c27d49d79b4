"""The explanation of an answer, on demand and while it is written."""

from __future__ import annotations

import streamlit as st

from mcqa.asking import Answered, Explained
from ui import elements
from ui.ask import exchange as exchanges
from ui.ask.answer import show_error
from ui.ask.exchange import Exchange, Explanation
from ui.language import duration, number, parts, t
from ui.live import live

SECONDS = 0.3


def show_explanation(exchange: Exchange, answered: Answered) -> None:
    """The button that asks for one, or what is written of it so far."""
    # Containers, because Streamlit may hide an element that is at another place than it was a moment ago.
    text, below, button = st.container(), st.container(), st.container()
    explanation = exchange.explanation
    again = explanation is None
    if explanation is not None:
        with text:
            st.subheader(t("ask.explanation.title"))
            _show(explanation.running)
        with below:
            again = not explanation.running and _below(explanation, answered)
    if again:
        with button:
            st.button(t("ask.explanation.why"), key="ask why", on_click=exchanges.explain, args=(exchange,))


def _show(running: bool) -> None:
    """In the same fragment also when all is written: from another one the text would be a new element, what is selected
    in it lost, and its end not said by a screen reader."""
    if running:
        live(SECONDS)(_text)(running=True)
    else:
        st.fragment(_text)(running=False)


def _text(running: bool) -> None:
    exchange = exchanges.current()
    explanation = None if exchange is None else exchange.explanation
    if explanation is None or explanation.running != running:
        st.rerun()
        return
    if not running:
        end = "stopped" if explanation.stopped else "done" if explanation.work.error is None else "cut"
        text = explanation.text if explanation.work.result is None else explanation.work.result.text
        elements.writing(text, end=t(f"ask.explanation.end.{end}"), key="ask explanation")
        # texts: ask.explanation.end.*
        return
    explanation.look()
    elements.writing(explanation.text, key="ask explanation")
    key = "ask.explanation.writing" if explanation.text else "ask.explanation.waiting"
    elements.paragraph(t(key, time=duration(explanation.work.seconds)), key="ask writing")
    # texts: ask.explanation.writing, ask.explanation.waiting
    st.button(t("ask.explanation.stop"), key="ask stop", on_click=explanation.stop)


def _below(explanation: Explanation, answered: Answered) -> bool:
    """What there is to know of it; whether another one may be wanted."""
    explained, error = explanation.work.result, explanation.work.error
    if error is not None and not explanation.stopped:
        show_error(error)
    elif explained is None or explained.stopped:
        elements.notice("info", t("ask.explanation.stopped"), key="ask explanation cut")
    else:
        _figures(explained, answered)
        return False
    return True


def _figures(explained: Explained, answered: Answered) -> None:
    if not explained.text:
        elements.paragraph(t("ask.explanation.empty"), key="ask explanation empty")
    tokens, seconds = number(explained.tokens or 0), number(explained.seconds, 1)
    elements.paragraph(*parts("ask.explanation.figures", tokens=tokens, seconds=seconds), key="ask explanation figures")
    if not explained.complete:
        elements.notice("info", t("ask.explanation.cut"), key="ask explanation cut")
    if (explained.version, explained.letter) != (answered.answer.model_version, answered.answer.letter):
        other = parts("ask.explanation.other", version=explained.version, letter=explained.letter)
        elements.notice("warning", *other, key="ask explanation other")
