"""`scripts/tools`, also `python -m tools`: the commands, and how their failures end.

0    done                                      1    failed, one line on stderr
2    called wrongly, one line on stderr        130  Ctrl-C, 143 SIGTERM, 129 a closed terminal
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import typer

from mcqa.command_group import CommandGroup
from tools import screenshots
from tools.ci import commands as ci
from tools.cluster import commands as cluster
from tools.errors import ToolError
from tools.images import commands as images
from tools.manifests import commands as manifests
from tools.project import ROOT

PROGRAM = "scripts/tools"
INTERRUPTED = 130


class Group(CommandGroup):
    """Ends what is expected to go wrong with one line on stderr."""

    program = PROGRAM

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ToolError as error:
            print(f"{ctx.invoked_subcommand}: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The tools behind the make verbs. Options that name a variable can be set in the environment instead.",
    rich_markup_mode="markdown",
)
cluster.register(app)
images.register(app)
manifests.register(app)
ci.register(app)
screenshots.register(app)


def main() -> None:
    # Paths in this package and in its messages are relative to the checkout.
    os.chdir(ROOT)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_on_signal)
    app(prog_name=PROGRAM)


def _exit_on_signal(number: int, _: FrameType | None) -> NoReturn:
    """An exception, so that temporary folders and port-forwards are cleaned up."""
    raise SystemExit(128 + number)
