"""`mcqa`: the verbs, and how their errors end."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError
from typer.core import TyperGroup

from common.question import QuestionError
from local.platform.settings import PlatformError
from mcqa import (
    ask,
    bank,
    dead_letters,
    drift,
    error_reporting,
    evaluate,
    events,
    feedback,
    logs,
    model,
    pipeline,
    quickstart,
    rollout,
    serve,
    status,
    terminal,
    up,
)
from mcqa.cli import DEBUG_VARIABLE, INTERRUPTED, NO_READER
from mcqa.demo.command import demo
from mcqa.errors import CommandError, CommandInterruptedError
from predictor.errors import VersionError
from predictor.hardware import HardwareError
from predictor.storage.errors import StorageError


class Group(TyperGroup):
    """Ends expected errors with one line on stderr; anything else is a bug, which `cli` reports."""

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
            terminal.error(_usage(error))
            code = error.exit_code
        except typer.Abort:
            terminal.error("the input ended before the answer")
            code = 1
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandInterruptedError as error:
            terminal.interrupted(f"interrupted: {error}")
            code = error.exit_code
        except CommandError as error:
            code = _report(error, error.details, error.exit_code)
        except (HardwareError, PlatformError, QuestionError, StorageError, VersionError) as error:
            code = _report(error)
        except KeyboardInterrupt:
            terminal.interrupted()
            code = INTERRUPTED
        except BrokenPipeError:
            code = NO_READER
        raise typer.Exit(code)


def _report(error: Exception, details: Sequence[str] = (), code: int = 1) -> int:
    if error_reporting.debugging():
        traceback.print_exception(error)
    terminal.error(str(error), details)
    return code


def _usage(error: ClickException) -> str:
    """What was wrong with the call, and where its usage is described."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, UsageError) else None
    return message if context is None else f"{message}: see `{context.command_path} --help`"


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Qwen2 answers coding multiple-choice questions over KServe's protocols. "
    "Start with [bold]mcqa quickstart[/] or [bold]mcqa ask[/].",
    rich_markup_mode="rich",
)
app.command()(quickstart.quickstart)
app.command("hello", hidden=True)(quickstart.quickstart)  # its name in 0.1
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve.serve)
app.command()(ask.ask)
app.command()(feedback.feedback)
app.command()(evaluate.evaluate)
app.command()(bank.bank)
app.add_typer(model.app, name="model")
app.command()(up.up)
app.command()(up.down)
app.command()(demo)
app.command()(status.status)
app.command()(logs.logs)
app.command()(events.events)
app.add_typer(dead_letters.dead_letters_app, name="dead-letters")
app.add_typer(rollout.rollout_app, name="rollout")
app.add_typer(drift.drift_app, name="drift")
app.add_typer(pipeline.pipeline_app, name="pipeline")


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            terminal.line(version("coding-mcqa"))
        except PackageNotFoundError:
            terminal.line("not installed (running from a checkout)")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of any failure.")] = False,
) -> None:
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
