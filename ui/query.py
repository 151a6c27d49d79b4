"""Numbers that a page's address names: `/rollout?decision=12`."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from ui import elements
from ui.elements import Code
from ui.language import parts

_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Number:
    """`value` is None where the address says nothing, and where what it says is not a number (`is_strange`)."""

    name: str
    given: str
    value: int | None

    @property
    def is_strange(self) -> bool:
        return bool(self.given) and self.value is None


def number(name: str, digits: int = 9, words: tuple[str, ...] = ()) -> Number:
    """A whole number from 1, of at most so many digits: what a column of the database holds. `words` are other values
    that the page knows.
    """
    given = str(st.query_params.get(name, ""))
    if given in words:
        given = ""
    plain = given.isascii() and given.isdigit() and len(given) <= digits and int(given) > 0
    return Number(name, given, int(given) if plain else None)


def explain(*numbers: Number) -> None:
    """A sentence for each that is not a number: who followed a broken link would take what is shown for its target."""
    for each in numbers:
        if each.is_strange:
            sentence = parts("app.not_a_number", name=Code(each.name), given=Code(each.given[:_MOST_SHOWN]))
            elements.notice("warning", *sentence, key=f"strange {each.name}")
