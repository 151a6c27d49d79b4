"""The group of commands that `mcqa` and `scripts/tools` share: a wrong call ends with one line on stderr.

typer prints a box of several lines for it, and a traceback for what it does not expect.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError
from typer.core import TyperGroup


class CommandGroup(TyperGroup):
    """`report` prints the line about `command`; the exit code is the error's own (2 for a wrong call)."""

    program = ""

    def report(self, line: str, command: str) -> None:
        print(f"{command or self.program}: {line}", file=sys.stderr)

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
        except NoArgsIsHelpError as error:  # creating it has printed the help
            code = error.exit_code
        except ClickException as error:
            self.report(*_usage(error, prog_name or self.name or ""))
            code = error.exit_code
        except typer.Abort:
            self.report("the input ended before the answer", "")
            code = 1
        sys.exit(code if isinstance(code, int) else 0)


def _usage(error: ClickException, program: str) -> tuple[str, str]:
    """What was wrong with the call and where its usage is described; and the command's own name, "" for none."""
    message = error.format_message().rstrip(".")
    # An option's parser knows no context: the help of the program leads on from there.
    context = error.ctx if isinstance(error, UsageError) else None
    described = context.command_path if context else program
    return f"{message}: see `{described} --help`", (context.info_name or "") if context else ""
