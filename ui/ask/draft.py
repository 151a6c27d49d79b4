"""What somebody has typed so far: kept for the session, so that neither another page nor an error loses any of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st

from common.normalise import is_blank
from common.question import LETTERS, MAX_CHOICES, MIN_CHOICES, Question, QuestionError, parse_question
from ui.ask.highlight import GUESS

_STATE = "ask draft"
FIRST_CHOICES = 4


@dataclass(slots=True)
class Draft:
    """`choices` have numbers of their own, which name their fields; `generation` grows when all are filled again.

    `origin` is the question as an example or a pasted text gave it, with its subject, `right` its right choice: they
    hold as long as nobody changes the question.
    """

    stem: str = ""
    code: str = ""
    language: str = GUESS
    choices: list[tuple[int, str]] = field(default_factory=lambda: [(number, "") for number in range(FIRST_CHOICES)])
    pasted: str = ""
    generation: int = 0
    origin: Question | None = None
    right: int | None = None

    def fill(self, question: Question, right: int | None, language: str = GUESS, pasted: str = "") -> None:
        self.stem, self.code, self.language, self.pasted = question.stem, question.code or "", language, pasted
        self.choices = list(enumerate(question.choices))
        self.origin, self.right = question, right
        self.generation += 1

    def clear(self) -> None:
        """Empty again."""
        fresh = Draft()
        self.fill(Question(fresh.stem, ()), None)
        self.choices, self.origin = fresh.choices, None

    def add_choice(self) -> None:
        if len(self.choices) < MAX_CHOICES:
            self.choices.append((max((number for number, _ in self.choices), default=-1) + 1, ""))

    def remove_choice(self, number: int) -> None:
        if len(self.choices) > MIN_CHOICES:
            self.choices = [(other, text) for other, text in self.choices if other != number]

    def known_right(self) -> int | None:
        """The right choice, where the question is still the one that came with it."""
        return self.right if self._is_origin() else None

    def question(self) -> Question:
        """As it is asked; QuestionError with the field that is not usable. Empty choices at the end do not count."""
        texts = [text for _, text in self.choices]
        while texts and is_blank(texts[-1]):
            texts.pop()
        subject = self.origin.subject if self.origin and self._is_origin() else None
        return parse_question({"question": self.stem, "choices": texts, "code": self.code, "subject": subject})

    def _is_origin(self) -> bool:
        origin = self.origin
        if origin is None:
            return False
        texts = tuple(text for _, text in self.choices)
        return (self.stem, self.code, texts) == (origin.stem, origin.code or "", origin.choices)


def draft() -> Draft:
    """The session's."""
    if _STATE not in st.session_state:
        st.session_state[_STATE] = Draft()
    kept: Draft = st.session_state[_STATE]
    return kept


def letter(place: int) -> str:
    return LETTERS[place]


def blank_choices(texts: Sequence[str]) -> str:
    """The letters of the empty choices before the last that is not."""
    last = max((place for place, text in enumerate(texts) if not is_blank(text)), default=-1)
    return ", ".join(LETTERS[place] for place in range(last) if is_blank(texts[place]))


def problem(error: QuestionError, texts: Sequence[str]) -> tuple[str, str]:
    """A code for the sentence that says what is missing, and its detail."""
    if error.field == "question":
        return ("no_question" if error.message == "is empty" else "other"), error.message
    filled = [text for text in texts if not is_blank(text)]
    if error.field.startswith("choices") and len(filled) < MIN_CHOICES:
        return "few_choices", ""
    if error.field.startswith("choices") and (blank := blank_choices(texts)):
        return "blank_choice", blank
    if error.field == "choices" and " same text" in error.message:
        letters = LETTERS[: len(texts)]
        return "same_choices", ", ".join(character for character in error.message[:40] if character in letters)
    return "other", f"{error.field}: {error.message}"
