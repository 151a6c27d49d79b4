"""`scripts/tools`, also `python -m tools`: the commands, and how their failures end.

0    done                                      1    failed, one line on stderr
2    called wrongly, one line on stderr        130  Ctrl-C, 143 SIGTERM, 129 a closed terminal
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError
from typer.core import TyperGroup

from tools.ci import commands as ci
from tools.cluster import commands as cluster
from tools.errors import ToolError
from tools.images import commands as images
from tools.manifests import commands as manifests
from tools.project import ROOT

PROGRAM = "scripts/tools"
INTERRUPTED = 130


class Group(TyperGroup):
    """Ends what is expected to go wrong with one line on stderr."""

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except NoArgsIsHelpError as error:  # constructing it has printed the help
            code = error.exit_code
        except ClickException as error:
            print(_usage_line(error), file=sys.stderr)
            code = error.exit_code
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ToolError as error:
            print(f"{ctx.invoked_subcommand}: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def _usage_line(error: ClickException) -> str:
    """What is wrong with the call, and where the right one is described."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, UsageError) else None
    tool, command = (PROGRAM, PROGRAM) if context is None else (context.info_name, context.command_path)
    return f"{tool}: {message}: see `{command} --help`"


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


def main() -> None:
    # Paths in this package and in its messages are relative to the checkout.
    os.chdir(ROOT)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_on_signal)
    app(prog_name=PROGRAM)


def _exit_on_signal(number: int, _: FrameType | None) -> NoReturn:
    """An exception, so that temporary folders and port-forwards are cleaned up."""
    raise SystemExit(128 + number)
