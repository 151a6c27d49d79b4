"""The fields of a question, filled by hand, from a pasted text or from an example."""

from __future__ import annotations

import random
from typing import Any

import streamlit as st

from common.question import MAX_CHOICES, MIN_CHOICES, Question
from mcqa.pasted_question import PasteError, parse_pasted
from ui import elements
from ui.ask import highlight
from ui.ask.draft import Draft, letter
from ui.ask.examples import examples
from ui.language import language, t

SMALL, MEDIUM = 68, 120
MAX_CHARACTERS = 100_000


def starters(draft: Draft) -> None:
    """Ways to fill the fields: an example, or a whole question as text."""
    example, paste = st.columns(2, gap="large")
    with example, st.expander(t("ask.examples.title"), key="ask examples"):
        subjects = list(examples())
        chosen = _key(draft, "subject", kept=True)
        st.selectbox(t("ask.examples.subject"), subjects, key=chosen)
        st.button(t("ask.examples.show"), key="ask example", on_click=_fill_from_example, args=(draft, chosen))
    with paste, st.expander(t("ask.paste.title"), key="ask paste"):
        draft.pasted = st.text_area(
            t("ask.paste.label"), key=_seeded(draft, "pasted", draft.pasted), height=MEDIUM,
            help=t("ask.paste.help"), max_chars=MAX_CHARACTERS,
        ) or ""  # fmt: skip
        st.button(t("ask.paste.fill"), key="ask fill", on_click=_fill_from_text, args=(draft,))
        if (outcome := st.session_state.pop("ask paste outcome", None)) is not None:
            kind, key, params = outcome
            elements.notice(kind, t(key, **params), key="ask paste outcome shown")  # texts: ask.paste.*


def fields(draft: Draft) -> None:
    """The question, its code and its choices; the draft has their values afterwards."""
    draft.stem = st.text_area(
        t("ask.question"), key=_seeded(draft, "stem", draft.stem), height=MEDIUM,
        placeholder=t("ask.question_hint"), max_chars=MAX_CHARACTERS,
    ) or ""  # fmt: skip
    _code(draft)
    _choices(draft)


def _code(draft: Draft) -> None:
    draft.code = st.text_area(
        t("ask.code"), key=_seeded(draft, "code", draft.code), height=MEDIUM, max_chars=MAX_CHARACTERS
    ) or ""  # fmt: skip
    # Always there: what follows keeps its place, and with it the focus and what is typed meanwhile.
    with st.container(key="ask-code-shown"):
        if draft.code.strip():
            _highlighted(draft)


def _highlighted(draft: Draft) -> None:
    guessed = highlight.guess(draft.code)
    names = {highlight.GUESS: t("ask.language.guess", name=highlight.NAMES.get(guessed or "", t("ask.language.none")))}
    names |= highlight.NAMES
    with st.container(key="ask-highlighted"):
        st.code(draft.code, language=draft.language or guessed)
    draft.language = st.selectbox(
        t("ask.language.label"), list(names), format_func=names.__getitem__,
        key=_seeded(draft, "language", draft.language),
    )  # fmt: skip


def _choices(draft: Draft) -> None:
    st.header(t("ask.choices"))
    removable = len(draft.choices) > MIN_CHOICES
    texts: list[tuple[int, str]] = []
    for place, (number, text) in enumerate(draft.choices):
        wide, narrow = st.columns([8, 2], vertical_alignment="bottom")
        with wide:
            value = st.text_area(
                t("ask.choice", letter=letter(place)), key=_seeded(draft, f"choice {number} {place}", text),
                height=SMALL, max_chars=MAX_CHARACTERS,
            )  # fmt: skip
        with narrow:
            st.button(
                t("ask.remove", letter=letter(place)), key=f"ask remove {number} {place}", disabled=not removable,
                on_click=_remove, args=(draft, number),
            )  # fmt: skip
        texts.append((number, value or ""))
    draft.choices = texts
    st.button(
        t("ask.add"), key="ask add", disabled=len(draft.choices) >= MAX_CHOICES, on_click=_add, args=(draft,)
    )  # fmt: skip


def remember(draft: Draft) -> None:
    """What the fields hold now. A button's callback runs before the page does, and may come with a field's new text."""
    for name in ("stem", "code", "language", "pasted"):
        if (value := st.session_state.get(_key(draft, name))) is not None:
            setattr(draft, name, value)
    draft.choices = [
        (number, st.session_state.get(_key(draft, f"choice {number} {place}"), text))
        for place, (number, text) in enumerate(draft.choices)
    ]


def _add(draft: Draft) -> None:
    remember(draft)
    draft.add_choice()


def _remove(draft: Draft, number: int) -> None:
    remember(draft)
    draft.remove_choice(number)


def _key(draft: Draft, name: str, *, kept: bool = False) -> str:
    """A field's. Labels are part of a widget in Streamlit, so another language is another field with the same value."""
    return f"ask {'' if kept else draft.generation} {language()} {name}"


def _seeded(draft: Draft, name: str, value: Any) -> str:
    """The key of a field that shows `value` where Streamlit has not kept one."""
    key = _key(draft, name)
    if key not in st.session_state:
        st.session_state[key] = value
    return key


def _fill_from_example(draft: Draft, key: str) -> None:
    """Another one of the subject's than before."""
    remember(draft)
    known = examples()[st.session_state[key]]
    others = [item for item in known if item[0] != draft.origin] or known
    question, right = random.choice(others)
    draft.fill(question, right)


def _fill_from_text(draft: Draft) -> None:
    """The typed text itself stays, whatever comes of it."""
    remember(draft)
    pasted = draft.pasted
    try:
        found = parse_pasted(pasted)
    except PasteError as error:
        st.session_state["ask paste outcome"] = "error", f"ask.paste.error.{error.code}", {"detail": error.detail}
        return
    question = Question(found.stem, found.choices, found.code or None)
    draft.fill(question, found.right, highlight.known(found.language), pasted)
    outcome = ("others", {"n": found.others}) if found.others else ("filled", {"n": len(found.choices)})
    st.session_state["ask paste outcome"] = "success", f"ask.paste.{outcome[0]}", outcome[1]
