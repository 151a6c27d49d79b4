"""`mcqa feedback`: reports the right answer to the loop, which learns from it, and prints whether it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from common.event_types import SOURCE_CLI
from common.question import LETTERS
from mcqa import loop, polling, right_answers, targets, terminal
from mcqa.errors import CommandError

if TYPE_CHECKING:
    from functions.collect.feedback import FeedbackOutcome, KnownAnswer

WAIT = 15.0
"""Seconds: a function that is scaled to zero takes a few to start, and the payload log lags a little."""


def feedback(
    answer_id: Annotated[
        str, typer.Argument(help="The id that `mcqa ask` printed: the request's ce-id, or ce-id/index.")
    ],
    answer: Annotated[str, typer.Argument(help="The letter of the right choice.")],
    wait: polling.WaitOption = WAIT,
    directory: loop.FolderOption = None,
) -> None:
    """Report which choice was right. It counts once, however often it is reported; the last report counts."""
    letter = answer.strip().upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise typer.BadParameter(f"must be one letter of {LETTERS}, found {answer!r}", param_hint="ANSWER")
    target = targets.sink(directory)
    if target.folder:
        terminal.note(targets.describe(target))
    with targets.database(target) as database:
        if database is None:
            right_answers.send(str(target.address), answer_id, letter)
            terminal.out.print(
                f"{letter} was right: sent to the broker {targets.describe(target)}", soft_wrap=True, markup=False
            )
            terminal.note("the result cannot be seen from here: set MCQA_DATABASE_URL to see it")
            return
        from functions.collect import feedback as store

        # Before anything is sent: feedback that is refused for good would become a dead letter.
        answered: KnownAnswer | None = database(lambda c: store.known(c, answer_id))
        if answered is not None:
            _require_letter(letter, answered.letters)
        event = right_answers.send(str(target.address), answer_id, letter)
        outcome = _outcome(lambda: database(lambda c: store.outcome(c, SOURCE_CLI, event, answer_id, letter)), wait)
    _report(outcome, answer_id, letter)


def _outcome(read: Callable[[], FeedbackOutcome], wait: float) -> FeedbackOutcome:
    """The outcome once it is final; after `wait` seconds the current one."""

    def final() -> FeedbackOutcome | None:
        outcome = read()
        return outcome if outcome.reason in right_answers.FINAL else None

    return polling.wait_for(final, wait, "the loop to count it") or read()


def _report(outcome: FeedbackOutcome, answer_id: str, letter: str) -> None:
    """CommandError where the feedback was not taken."""
    if outcome.reason == "no-such-letter":
        _require_letter(letter, outcome.letters)
    if outcome.reason == "unknown-answer":
        raise CommandError(
            f"the loop has no answer {answer_id!r}: give the id that `mcqa ask` printed. The feedback is kept, and "
            "counts if such an answer is still logged"
        )
    if outcome.reason == "pending":
        raise CommandError(
            "the function collect has not received it yet: it waits at the broker, and counts once it is delivered; "
            "`mcqa status` shows what is wrong, `mcqa logs collect` what the function does"
        )
    if outcome.reason == "test-traffic":
        terminal.out.print(f"noted: {letter} was right. The question was a test and does not count")
        return
    if outcome.reason == "superseded":
        terminal.out.print(f"noted: {letter} was right, but a later report counts: {outcome.label}")
        return
    model = ""
    if outcome.chosen:
        version = f" of version {outcome.version}" if outcome.version else ""
        model = f"; the model{version} answered {'the same' if outcome.chosen == letter else outcome.chosen}"
    terminal.out.print(f"[green]✓[/] counted: {letter} was right{model}", soft_wrap=True)


def _require_letter(letter: str, letters: str) -> None:
    if letters and letter not in letters:
        raise CommandError(f"the question has the letters {letters[0]} to {letters[-1]}, found {letter}")
