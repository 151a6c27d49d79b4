"""`mcqa feedback`: what the right answer was, for the loop to learn from."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from mcqa import loop, terminal
from mcqa.errors import CommandError
from predictor.question import LETTERS

SOURCE = "/coding-mcqa/cli"
TYPE = "dev.cdeventsx.mcqa-answer.feedback"


def feedback(
    answer_id: Annotated[str, typer.Argument(help="As `mcqa ask` printed it: the request's ce-id, or ce-id/place.")],
    answer: Annotated[str, typer.Argument(help="The letter of the right choice.")],
    directory: loop.FolderOption = None,
) -> None:
    """Say which choice was right. The loop counts it once, however often it is said; the last word counts."""
    import httpx

    letter = answer.strip().upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise typer.BadParameter(f"must be one letter of {LETTERS}, found {answer!r}", param_hint="ANSWER")
    target = loop.sink(directory)
    sink = str(target.address)
    headers = {"ce-specversion": "1.0", "ce-id": str(uuid.uuid4()), "ce-source": SOURCE, "ce-type": TYPE}
    try:
        response = httpx.post(sink, json={"answer_id": answer_id, "answer": letter}, headers=headers, timeout=10)
    except httpx.TransportError as error:
        raise CommandError(f"the broker at {sink} does not answer ({error}): is the loop up?") from None
    if not response.is_success:
        raise CommandError(f"the broker answered {response.status_code}: {response.text[:200]}")
    terminal.out.print(f"[green]✓[/] noted: {letter} was right [dim]({loop.describe(target)})[/]", soft_wrap=True)
