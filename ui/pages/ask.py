"""Ask: a question, the model's answer with what gave it, why, and what was right."""

from __future__ import annotations

import os

import streamlit as st

from common.question import QuestionError
from mcqa import asking
from mcqa.asking import Answered
from ui import elements
from ui.ask import exchange as exchanges
from ui.ask.answer import show_answer, show_details, show_error, show_reliability, show_requests, show_warnings
from ui.ask.draft import Draft, draft, problem
from ui.ask.exchange import Exchange
from ui.ask.explanation import show_explanation
from ui.ask.form import fields, starters
from ui.ask.right_answer import show_right_answer
from ui.language import duration, parts, t
from ui.live import live

WAIT_SECONDS = 0.5
"""How often the page looks whether an answer has come."""
WAKING_SECONDS = 2.0
"""An awake model has answered by then."""


def render() -> None:
    st.title(t("app.page.ask"))
    elements.paragraph(t("ask.intro"), key="ask intro")
    typed = draft()
    starters(typed)
    question, answer = st.columns(2, gap="large")
    with question, st.container(key="ask-form"):
        fields(typed)
        _ask(typed)
    with answer, st.container(border=True, key="ask-answer"):
        if (exchange := exchanges.current()) is None:
            elements.paragraph(t("ask.no_answer"), key="ask no answer")
        else:
            _show(exchange, typed)
    answered = exchange.answer.result if exchange else None
    elements.keyboard(
        fields=".st-key-ask-form",
        button=".st-key-ask-now",
        target=".st-key-ask-answer h2",
        arrived=answered.answer_id if answered else None,
        key="ask keys",
    )


def _ask(typed: Draft) -> None:
    asked, cleared = st.columns([3, 1])
    busy = (exchange := exchanges.current()) is not None and exchange.answer.running
    wanted = asked.button(t("ask.ask"), type="primary", key="ask now", disabled=busy)
    cleared.button(t("ask.clear"), key="ask clear", on_click=typed.clear)
    if not wanted:
        return
    try:
        question = typed.question()
    except QuestionError as error:
        code, detail = problem(error, [text for _, text in typed.choices])
        elements.notice(
            "error", *parts(f"ask.problem.{code}", detail=detail), key="ask problem"
        )  # texts: ask.problem.*
        return
    exchanges.ask(question, typed.known_right())


def _show(exchange: Exchange, typed: Draft) -> None:
    if exchange.answer.running:
        _wait()
        return
    if (error := exchange.answer.error) is not None:
        show_error(error)
        show_requests(exchange, asking.public_address(os.environ))
        return
    answered = exchange.answer.result
    assert answered is not None
    # What appears in one of these moves nothing in the others: an open list would close, a click would be lost.
    changed, reliability, rest = st.container(), st.container(), st.container()
    with changed:
        if not _is_asked(exchange, typed):
            elements.notice("info", t("ask.answer.before_change"), key="ask changed")
        show_answer(answered)
    with reliability:
        _reliability(exchange, answered)
    with rest:
        show_warnings(answered)
        show_explanation(exchange, answered)
        with st.container():
            show_right_answer(exchange, answered)
        show_details(answered)
        show_requests(exchange, asking.public_address(os.environ))


def _is_asked(exchange: Exchange, typed: Draft) -> bool:
    """Whether the fields still hold the question that was asked."""
    try:
        return typed.question() == exchange.question
    except QuestionError:
        return False


def _reliability(exchange: Exchange, answered: Answered) -> None:
    """Nothing where it is not known, or where the question is of a kind that was never measured."""
    if not answered.covered:
        return
    work = exchanges.compare(exchange, answered)
    if work.running:
        _look()
    elif (found := work.result) is not None:
        show_reliability(answered, found)


@live(WAIT_SECONDS)
def _wait() -> None:
    exchange = exchanges.current()
    if exchange is None or not exchange.answer.running:
        st.rerun()
        return
    elements.paragraph(t("ask.waiting", time=duration(exchange.answer.seconds)), key="ask waiting")
    if exchange.answer.seconds > WAKING_SECONDS:
        elements.notice("info", t("ask.waking"), key="ask waking")


@live(WAIT_SECONDS)
def _look() -> None:
    exchange = exchanges.current()
    if exchange is None or exchange.reliability is None or not exchange.reliability.running:
        st.rerun()
