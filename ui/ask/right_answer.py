"""Telling the loop which choice was right: once for each answer, and what came of it."""

from __future__ import annotations

import os
from contextlib import suppress

import streamlit as st

from common.errors import SettingError, UnavailableError
from mcqa.addresses import SINK_VARIABLE
from mcqa.asking import Answered
from mcqa.errors import CommandError
from ui import elements
from ui.ask import exchange as exchanges
from ui.ask.exchange import Exchange, RightAnswer
from ui.elements import Cell, Strong
from ui.language import language, parts, t
from ui.live import live

SECONDS = 1.0
_FAILED = "ask right answer failed"


def show_right_answer(exchange: Exchange, answered: Answered) -> None:
    st.subheader(t("ask.right.title"))
    if not os.environ.get(SINK_VARIABLE):
        elements.paragraph(t("ask.right.nowhere"), key="ask right nowhere")
        return
    if exchange.told is None:
        _offer(exchange, answered)
    elif exchange.told.looked_for:
        _follow(answered.answer_id)
    else:
        _outcome(exchange.told, answered)


def _offer(exchange: Exchange, answered: Answered) -> None:
    letters = answered.question.letters
    elements.paragraph(t("ask.right.why"), key="ask right why")
    if (failed := st.session_state.pop(_FAILED, None)) is not None:
        elements.notice("error", *parts("ask.right.failed", error=failed), key="ask right failed")
    known = None if exchange.right is None else letters[exchange.right]
    if known is not None:
        elements.paragraph(*parts("ask.right.known", letter=Strong(known)), key="ask right known")
    yes, other = st.columns(2, vertical_alignment="bottom")
    with yes:
        st.button(
            t("ask.right.yes", letter=answered.answer.letter), key="ask right yes", on_click=_tell,
            args=(exchange, answered, answered.answer.letter),
        )  # fmt: skip
    with other:
        chosen = f"ask {language()} right letter {answered.answer_id}"
        # Nothing is chosen beforehand: a label that nobody meant to give would teach the loop something wrong.
        st.selectbox(
            t("ask.right.letter"), list(letters), index=None, placeholder=t("ask.right.choose"), key=chosen,
            format_func=lambda letter: _choice(answered, letter),
        )  # fmt: skip
        st.button(
            t("ask.right.send"), key="ask right send", on_click=_tell_chosen, args=(exchange, answered, chosen),
            disabled=st.session_state.get(chosen) is None,
        )  # fmt: skip


def _choice(answered: Answered, letter: str) -> str:
    """The letter with the beginning of its choice; options of a selectbox are plain text."""
    text = " ".join(answered.question.choices[answered.question.letters.index(letter)].split())
    return f"{letter} · {text[:50]}"


def _tell_chosen(exchange: Exchange, answered: Answered, key: str) -> None:
    _tell(exchange, answered, st.session_state[key])


def _tell(exchange: Exchange, answered: Answered, letter: str) -> None:
    try:
        exchanges.tell(exchange, answered.answer_id, letter)
    except (CommandError, SettingError) as error:
        st.session_state[_FAILED] = " ".join(str(error).split())[:300]
    except UnavailableError:
        pass  # sent; the database that would tell the outcome is not available


@live(SECONDS)
def _follow(answer_id: str) -> None:
    exchange = exchanges.current()
    if exchange is None or exchange.told is None:
        return
    with suppress(UnavailableError):
        exchanges.look(exchange, answer_id)
    if not exchange.told.looked_for:
        st.rerun()
    sentence = parts("ask.right.sent", letter=Strong(exchange.told.letter))
    elements.paragraph(*sentence, key="ask right sent")


def _outcome(told: RightAnswer, answered: Answered) -> None:
    if told.outcome is None:
        elements.notice("success", *parts("ask.right.unseen", letter=Strong(told.letter)), key="ask right outcome")
        return
    reason = told.outcome.reason
    params: dict[str, Cell] = {
        "letter": Strong(told.letter),
        "label": told.outcome.label or "",
        "chosen": told.outcome.chosen or answered.answer.letter,
    }
    # texts: ask.right.outcome.*
    key = f"ask.right.outcome.{reason}"
    if reason == "counted" and params["chosen"] == told.letter:
        key = "ask.right.outcome.counted-same"
    kind = {"counted": "success", "no-such-letter": "error", "unknown-answer": "warning", "pending": "warning"}
    elements.notice(kind.get(reason, "info"), *parts(key, **params), key="ask right outcome")  # type: ignore[arg-type]
