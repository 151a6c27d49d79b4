"""`mcqa demo`: the verb itself."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mcqa.demo.faults import Fault


class ScenarioName(StrEnum):
    learn = "learn"
    rollback = "rollback"


def demo(
    scenario: Annotated[
        ScenarioName,
        typer.Argument(help="learn: drift, retraining, canary, promotion. rollback: a broken version is caught."),
    ] = ScenarioName.learn,
    fault: Annotated[
        Fault, typer.Option(help="In the scenario rollback: what is wrong with the version.")
    ] = Fault.accuracy,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="The folder of the demo's loop; one of your own gets free ports.",
            show_default=".local-demo of the checkout",
        ),
    ] = None,
) -> None:
    """Show the whole loop at work, narrated as it happens; it needs no input and takes some minutes.

    The scenario learn starts a loop of its own and deletes that of an earlier demo. The loop keeps running afterwards,
    for you to look at; the scenario rollback uses it where it is running.
    """
    if scenario is ScenarioName.learn:
        from mcqa.demo.learning_scenario import learn

        learn(directory)
    else:
        from mcqa.demo.rollback_scenario import roll_back

        roll_back(directory, fault)
