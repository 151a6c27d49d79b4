"""An answer on the terminal as soon as it is there, and then its explanation while it is written."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from common.question import Answer
from mcqa import terminal
from mcqa.questions import AskedQuestion


class ExplanationView:
    """Prints the asked questions in their order: `answer`, then `text` for each piece, then `end`."""

    def __init__(self, asked: Sequence[AskedQuestion]) -> None:
        self._asked = asked
        self._place = 0
        self._open = False

    def answer(self, answer: Answer, note: str) -> None:
        """`note` says how long the answer took, and who gave it."""
        self._open = True
        item = self._asked[self._place]
        if self._place:
            terminal.out.rule(style="dim")
        terminal.out.print(terminal.question_view(item.question))
        figures = note if len(self._asked) == 1 else ""
        terminal.out.print(terminal.answer_view(item.question, answer, correct_index=item.correct_index, note=figures))
        terminal.out.print()

    def text(self, piece: str) -> None:
        terminal.line(without_control_characters(piece), end="")

    def end(self) -> None:
        """The line's, too, where an answer was printed: what comes next may be an error."""
        if self._open:
            terminal.line("")
            self._place += 1
        self._open = False


def without_control_characters(text: str) -> str:
    """What a model writes must not move the cursor, or worse."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)
