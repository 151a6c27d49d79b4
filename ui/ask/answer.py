"""An answer: a bar per choice, what answered and what to think of it."""

from __future__ import annotations

import math

import streamlit as st

from common.model_card import ModelCard
from common.question import LETTERS
from mcqa import defaults, request_examples
from mcqa.asking import Answered, AskError, Role
from mcqa.readmodels.evaluations import Bin
from ui import elements
from ui.ask.exchange import Exchange
from ui.elements import Badge, Bar, Cell, Code, Link, Strong
from ui.language import number, parts, percent, t

LOW_MASS = 0.5
"""Below it the letters were not what the model would have written."""
PROBABLE = 0.005
SHOWN_SUBJECTS = 30


def show_answer(answered: Answered) -> None:
    """What somebody who asked wants to know first; the rest is in `show_details`."""
    answer = answered.answer
    st.header(t("ask.answer.title", letter=answer.letter))
    elements.paragraph(Strong(f"{answer.letter}: "), answer.choice, key="ask answer choice")
    elements.table(
        t("ask.answer.by_choice"),
        [t("ask.answer.choice"), t("ask.answer.text"), t("ask.answer.probability")],
        [_row(answered, place) for place in range(len(answer.probabilities))],
        key="ask answer choices",
    )
    elements.paragraph(
        *parts("ask.answer.sure", share=Strong(_share(answer.confidence))), " ", *_by(answered), key="ask answer sure"
    )


def _by(answered: Answered) -> list[Cell]:
    version = answered.answer.model_version
    link = Link(version, f"/versions?version={version}")
    if answered.role is None:
        return parts("ask.answer.by", version=link)
    return parts("ask.answer.by_role", version=link, role=t(f"ask.role.{answered.role}"))  # texts: ask.role.*


def show_warnings(answered: Answered) -> None:
    """Why the answer may be worth less than it looks."""
    mass = answered.answer.letter_mass
    if mass < LOW_MASS:
        elements.notice("warning", t("ask.answer.low_mass", mass=_share(mass)), key="ask low mass")
    if answered.card is not None:
        _show_card(answered.card, covered=answered.covered)


def show_reliability(answered: Answered, found: Bin) -> None:
    """What the confidence is worth: how often the version was right when it was so sure."""
    sentence = parts(
        "ask.answer.reliability",
        low=percent(found["low"], 0),
        high=percent(found["high"], 0),
        share=Strong(percent(found["accuracy"], 0)),
        n=number(found["count"]),
        version=answered.answer.model_version,
    )
    elements.paragraph(*sentence, key="ask reliability")


def _row(answered: Answered, place: int) -> list[Cell]:
    answer = answered.answer
    letter: Cell = LETTERS[place]
    if place == answer.index:
        letter = [Strong(LETTERS[place]), " ", Badge("info", t("ask.answer.chosen"))]
    share = answer.probabilities[place]
    return [letter, answered.question.choices[place], Bar(share, _share(share))]


def show_details(answered: Answered) -> None:
    with st.expander(t("ask.answer.details"), key="ask details"):
        elements.details(_figures(answered), key="ask answer figures")


def _figures(answered: Answered) -> dict[str, Cell]:
    answer = answered.answer
    version: Cell = Link(answer.model_version, f"/versions?version={answer.model_version}")
    roles: dict[Role | None, Cell] = {
        "champion": Badge("good", t("ask.role.champion")),
        "challenger": Badge("wait", t("ask.role.challenger")),
        None: t("ask.role.unknown"),
    }
    return {
        t("ask.figure.margin"): _share(answer.margin),
        t("ask.figure.mass"): _share(answer.letter_mass),
        t("ask.figure.model"): defaults.MODEL_NAME,
        t("ask.figure.version"): version,
        t("ask.figure.revision"): Code(answer.revision) if answer.revision else t("ask.figure.no_revision"),
        t("ask.figure.role"): roles[answered.role],
        t("ask.figure.time"): t("ask.figure.milliseconds", n=number(1000 * answered.seconds)),
        t("ask.figure.tokens"): number(answer.prompt_tokens),
        t("ask.figure.trace"): Link(answered.trace, f"/events?trace={answered.trace}"),
    }


def _share(share: float) -> str:
    """A probability; one that would be rounded to nothing is below a limit."""
    if 0 < share < PROBABLE / 10:
        return "< " + percent(PROBABLE / 10, 2)
    return percent(math.floor(share * 1000) / 1000 if share > 1 - PROBABLE else share)


def _show_card(card: ModelCard, *, covered: bool) -> None:
    """What a demonstration model is, and whether it ever learned anything like this question."""
    expected: list[Cell] = [t("ask.card.unmeasured")]
    if accuracy := card.accuracy:
        value, low, high = percent(accuracy.value, 0), percent(accuracy.low), percent(accuracy.high)
        expected = parts("ask.card.accuracy", value=value, low=low, high=high)
    what = parts("ask.card.what", title=card.title, n=len(card.subjects))
    outside: list[Cell] = [] if covered else [" ", Strong(t("ask.card.outside"))]
    elements.notice("info" if covered else "warning", *what, " ", *expected, *outside, key="ask card")
    with st.expander(t("ask.card.knows"), key="ask card knows"):
        shown = ", ".join(card.subjects[:SHOWN_SUBJECTS])
        elements.paragraph(*parts("ask.card.subjects", names=shown), key="ask card subjects")
        elements.paragraph(t("ask.card.real"), key="ask card real")
        st.code(f"mcqa serve --model {defaults.REAL_MODEL}", language="bash")


def show_error(error: BaseException) -> None:
    """A sentence, what the server said itself, and what can be done. Whatever was typed is still in its fields."""
    if not isinstance(error, AskError):
        elements.notice("error", *parts("ask.error.unexpected", detail=_line(error)), key="ask error")
        return
    sentence: list[Cell] = [*parts(f"ask.error.{error.code}", address=Code(error.address), status=error.status)]
    # texts: ask.error.*
    if error.retry_after is not None:
        sentence += [" ", t("ask.error.retry_after", seconds=number(math.ceil(error.retry_after)))]
    if error.detail and error.code not in ("no-address", "unreachable", "timeout", "broken-off"):
        sentence += [" ", *parts("ask.error.detail", detail=error.detail)]
    elements.notice("error", *sentence, " ", t("ask.error.kept"), key="ask error")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def show_requests(exchange: Exchange, address: str | None) -> None:
    """The same question as commands to copy."""
    with st.expander(t("ask.request.title"), key="ask request"):
        where = address or defaults.URL
        curl, python = st.tabs([t("ask.request.curl"), t("ask.request.python")], key="ask request kind")
        with curl:
            st.code(request_examples.curl(where, exchange.question), language="bash", wrap_lines=True)
        with python:
            st.code(request_examples.python(where, exchange.question), language="python", wrap_lines=True)
