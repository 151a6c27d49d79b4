"""The subjects that people ask about more than before, with examples."""

from __future__ import annotations

import streamlit as st

from mcqa.readmodels.drift_subjects import Example, Subject, Subjects
from ui import elements, facts
from ui.drift import readers
from ui.elements import Badge, Bar, Cell, Strong, Time
from ui.language import number, parts, percent, t
from ui.live import live

SECONDS = 15.0
MOST_CHARACTERS = 1_500
"""Of a question, its code or a choice; the whole is in the events."""


def asked(check: int | None) -> None:
    st.header(t("drift.asked.title"))
    if check is None:
        _live_asked()
    else:
        _asked(check)


@live(SECONDS)
def _live_asked() -> None:
    _asked(None)


def _asked(check: int | None) -> None:
    found = facts.shown(facts.read(readers.subjects, check, seconds=SECONDS), t("drift.part.subjects"))
    if found is None:
        return
    if not found["n"]:
        elements.paragraph(t("drift.asked.none"), key="drift asked none")
        return
    elements.paragraph(*_what(found), key="drift asked what")
    elements.table(
        t("drift.asked.caption"),
        [
            t("drift.asked.subject"),
            t("drift.asked.share"),
            t("drift.asked.before"),
            t("drift.asked.gain"),
            t("drift.asked.result"),
        ],
        [_row(subject) for subject in found["subjects"]],
        numeric=(3,),
        key="drift asked",
    )
    if found["others"]:
        elements.paragraph(t("drift.asked.others", n=found["others"]), key="drift asked others")
    for place, subject in enumerate(s for s in found["subjects"] if s["examples"]):
        elements.heading(3, t("drift.asked.examples", subject=_name(subject)), key=f"drift examples {place}")
        with st.expander(t("drift.asked.show"), key=f"drift examples {place} list"):
            for number_, example in enumerate(subject["examples"]):
                _example(example, f"drift example {place} {number_}")


def _what(found: Subjects) -> list[Cell]:
    key = "drift.asked.what" if found["n_before"] else "drift.asked.what_first"
    return parts(key, n=number(found["n"]), n_before=number(found["n_before"]), since=Time(found["since"]))


def _name(subject: Subject) -> str:
    return subject["subject"] or t("drift.asked.unnamed")


def _row(subject: Subject) -> list[Cell]:
    gain: Cell = "—"
    if subject["gain"] is not None and subject["low"] is not None and subject["high"] is not None:
        low, high = number(100 * subject["low"], 1), number(100 * subject["high"], 1)
        gain = t("drift.asked.points", gain=number(100 * subject["gain"], 1), low=low, high=high)
    grew: Cell = Badge("warn", t("drift.asked.grew")) if subject["grew"] else ""
    now = Bar(subject["share"], percent(subject["share"]))
    known = subject["gain"] is not None  # else there was nothing before, which is not a share of zero
    before: Cell = Bar(subject["share_before"], percent(subject["share_before"])) if known else "—"
    return [_name(subject), now, before, gain, grew]


def _example(example: Example, key: str) -> None:
    question = example["question"]
    elements.paragraph(Strong(_cut(question.get("question"))), key=f"{key} question")
    if code := question.get("code"):
        st.code(_cut(code), language=None)
    choices: dict[str, Cell] = {
        letter: [_cut(choice), *([" ", Badge("info", t("drift.asked.chosen"))] if letter == example["letter"] else [])]
        for letter, choice in zip("ABCDEFGHIJ", question.get("choices") or (), strict=False)
    }
    elements.details(choices, key=f"{key} choices")
    elements.paragraph(Time(example["at"]), key=f"{key} at")


def _cut(text: object) -> str:
    whole = str(text or "")
    return whole if len(whole) <= MOST_CHARACTERS else f"{whole[:MOST_CHARACTERS]}…"
