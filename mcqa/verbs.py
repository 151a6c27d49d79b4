"""`mcqa`: the verbs, and how their errors end."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

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
    ui,
    up,
    versions,
)
from mcqa.cli import DEBUG_VARIABLE, INTERRUPTED, NO_READER
from mcqa.command_group import CommandGroup
from mcqa.demo.command import demo
from mcqa.errors import CommandError, CommandInterruptedError
from predictor.errors import VersionError
from predictor.hardware import HardwareError
from predictor.storage.errors import StorageError


class Group(CommandGroup):
    """Ends expected errors with one line on stderr; anything else is a bug, which `cli` reports."""

    def report(self, line: str, command: str) -> None:
        terminal.error(line)

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
app.command()(ui.ui)
app.command()(demo)
app.command()(status.status)
app.command()(logs.logs)
app.command()(events.events)
app.add_typer(dead_letters.dead_letters_app, name="dead-letters")
app.add_typer(rollout.rollout_app, name="rollout")
app.add_typer(drift.drift_app, name="drift")
app.add_typer(pipeline.pipeline_app, name="pipeline")
app.command()(versions.versions)


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
