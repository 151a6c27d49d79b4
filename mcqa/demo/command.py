"""The verb itself."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mcqa.demo.broken import Fault


class Story(StrEnum):
    learn = "learn"
    rollback = "rollback"


def demo(
    story: Annotated[
        Story, typer.Argument(help="learn: drift, retraining, canary, promotion. rollback: a broken version is caught.")
    ] = Story.learn,
    fault: Annotated[
        Fault, typer.Option(help="Of the story rollback: what is wrong with the version.")
    ] = Fault.accuracy,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Where the demo's loop keeps everything; a folder of your own gets free ports.",
            show_default=".local-demo of the checkout",
        ),
    ] = None,
) -> None:
    """Show the whole loop at work, told as it happens; it needs nobody and takes some minutes.

    The story learn begins with a loop of its own and forgets the one of an earlier demo. The loop stays up at the end,
    to be looked at; the story rollback goes on with it where it is up.
    """
    if story is Story.learn:
        from mcqa.demo.learn import learn

        learn(directory)
    else:
        from mcqa.demo.rollback import rollback

        rollback(directory, fault)
