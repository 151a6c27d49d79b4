"""What to expect, and what not to expect, of an answer that comes from a demonstration model."""

from __future__ import annotations

from collections.abc import Sequence

from common.model_card import ModelCard
from common.question import Question
from mcqa import defaults


def disclaimers(card: ModelCard, questions: Sequence[Question]) -> list[str]:
    """One sentence each: what answered, and whether the questions are outside what it learned."""
    article = "an" if card.title[:1].lower() in "aeiou" else "a"
    lines = [f"answered by {article} {card.title}: it learned {len(card.subjects)} subjects, {_expected(card)}"]
    outside = sum(not card.covers(question) for question in questions)
    if outside:
        which = "this question is" if len(questions) == 1 else f"{outside} of {len(questions)} questions are"
        lines.append(f"{which} outside those: expect a guess (it learned {_named(card.subjects)})")
    return lines


def real_model(mcqa_command: str) -> tuple[str, str]:
    """What there is besides the demonstration model, and the command that gets it."""
    return "the real model, 3.1 GB:", f"{mcqa_command} serve --model {defaults.REAL_MODEL}"


def _expected(card: ModelCard) -> str:
    if card.accuracy is None:
        return "and was trained further after its accuracy was measured"
    accuracy = card.accuracy
    return f"and is right about {accuracy.value:.0%} of the time on those ({accuracy.low:.1%} to {accuracy.high:.1%})"


def _named(subjects: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(subjects[:most])
    return f"{shown} and {len(subjects) - most} more" if len(subjects) > most else shown
