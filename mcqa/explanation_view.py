"""An answer on the terminal as soon as it is there, and then its explanation while it is written."""

from __future__ import annotations

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

    @property
    def answered(self) -> bool:
        return self._open or self._place > 0

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

    def other_version(self, answer: Answer) -> None:
        """That another version explains: its own `answer`, not the one above."""
        terminal.sentence(
            f"version {answer.model_version} wrote this, which answers {answer.letter}: another one than gave the "
            "answer, as happens while a canary runs and after a promotion"
        )

    def text(self, piece: str) -> None:
        terminal.line(terminal.without_control_characters(piece), end="")

    def end(self) -> None:
        """The line's, too, where an answer was printed: what comes next may be an error."""
        if self._open:
            terminal.line("")
            self._place += 1
        self._open = False
