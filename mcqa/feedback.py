"""`mcqa feedback`: what the right answer was, for the loop to learn from, and what the loop makes of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.event_types import FEEDBACK, SOURCE_CLI
from common.question import LETTERS
from mcqa import loop, terminal, waiting
from mcqa.errors import CommandError

if TYPE_CHECKING:
    from functions.collect.feedback import FeedbackOutcome, KnownAnswer

WAIT = 15.0
"""Seconds: a function that was scaled to zero starts in some, and the payload log is a little behind the answers."""


def feedback(
    answer_id: Annotated[str, typer.Argument(help="As `mcqa ask` printed it: the request's ce-id, or ce-id/place.")],
    answer: Annotated[str, typer.Argument(help="The letter of the right choice.")],
    wait: waiting.WaitOption = WAIT,
    directory: loop.FolderOption = None,
) -> None:
    """Say which choice was right. The loop counts it once, however often it is said; the last word counts."""
    letter = answer.strip().upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise typer.BadParameter(f"must be one letter of {LETTERS}, found {answer!r}", param_hint="ANSWER")
    target = loop.sink(directory)
    if target.folder:
        terminal.note(loop.describe(target))
    with loop.database(target) as database:
        if database is None:
            _send(str(target.address), str(uuid.uuid4()), answer_id, letter)
            terminal.out.print(f"{letter} was right: told to {loop.describe(target)}", soft_wrap=True, markup=False)
            terminal.note("what comes of it is not known here: set MCQA_DATABASE_URL to see it")
            return
        from functions.collect import feedback as read

        # Before anything is sent: what is refused for good would become a dead letter.
        known: KnownAnswer | None = database(lambda c: read.known(c, answer_id))
        if known is not None:
            _require_letter(letter, known.letters)
        event = str(uuid.uuid4())
        _send(str(target.address), event, answer_id, letter)
        found = _outcome(lambda: database(lambda c: read.outcome(c, SOURCE_CLI, event, answer_id, letter)), wait)
    _tell(found, answer_id, letter, target.folder)


def _send(sink: str, event: str, answer_id: str, letter: str) -> None:
    import httpx

    headers = {"ce-specversion": "1.0", "ce-id": event, "ce-source": SOURCE_CLI, "ce-type": FEEDBACK}
    try:
        response = httpx.post(sink, json={"answer_id": answer_id, "answer": letter}, headers=headers, timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CommandError(f"the broker at {sink} does not answer ({error}): is the loop up?") from None
    if not response.is_success:
        raise CommandError(f"the broker answered {response.status_code}: {response.text[:200]}")


def _outcome(look: Callable[[], FeedbackOutcome], wait: float) -> FeedbackOutcome:
    """The outcome once it is final; after `wait` seconds the one there is."""

    def final() -> FeedbackOutcome | None:
        found = look()
        return None if found.reason in ("pending", "unknown-answer") else found

    return waiting.until(final, wait, "the loop to count it") or look()


def _tell(found: FeedbackOutcome, answer_id: str, letter: str, folder: Path | None) -> None:
    """CommandError for everything that is not as it was meant."""
    if found.reason == "no-such-letter":
        _require_letter(letter, found.letters)
    if found.reason == "unknown-answer":
        raise CommandError(
            f"the loop knows no answer {answer_id!r}: give the id that `mcqa ask` printed. The feedback is kept, and "
            "counts should such an answer still be logged"
        )
    if found.reason == "pending":
        raise CommandError(
            "the function collect has not taken it yet: it waits at the broker, and counts once it is delivered; "
            "`mcqa status` says what is wrong, `mcqa logs collect` what it does"
        )
    if found.reason == "test-traffic":
        terminal.out.print(f"noted: {letter} was right. The question was a test's, and counts for nothing")
        return
    if found.reason == "superseded":
        terminal.out.print(f"noted: {letter} was right, but a later word counts: {found.label}")
        return
    model = ""
    if found.chosen:
        version = f" of version {found.version}" if found.version else ""
        model = f"; the model{version} said {'so too' if found.chosen == letter else found.chosen}"
    terminal.out.print(f"[green]✓[/] counted: {letter} was right{model}", soft_wrap=True)


def _require_letter(letter: str, letters: str) -> None:
    if letters and letter not in letters:
        raise CommandError(f"the question has the letters {letters[0]} to {letters[-1]}, found {letter}")
