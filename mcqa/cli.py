"""`mcqa`: the verbs, and how their failures end."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from local.platform.settings import PlatformError
from mcqa import (
    ask,
    bank,
    drift,
    evaluate,
    events,
    feedback,
    hello,
    logs,
    model,
    pipeline,
    rollout,
    serve,
    status,
    terminal,
    up,
)
from mcqa.demo.command import demo
from mcqa.errors import CommandError
from predictor.hardware import HardwareError
from predictor.openmp import spin_briefly
from predictor.question import QuestionError
from predictor.source import SourceError
from predictor.weights import VersionError


class Group(TyperGroup):
    """Ends an expected failure with one line on stderr and exit code 1; anything else is a bug and shows its trace."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (CommandError, HardwareError, PlatformError, QuestionError, SourceError, VersionError) as failure:
            terminal.error(str(failure))
        raise typer.Exit(1)


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Qwen2 answers coding multiple-choice questions over KServe's protocols. "
    "Start with [bold]mcqa hello[/] or [bold]mcqa ask[/].",
    rich_markup_mode="rich",
)
app.command()(hello.hello)
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
app.add_typer(events.dead_letters_app, name="dead-letters")
app.add_typer(rollout.rollout_app, name="rollout")
app.add_typer(drift.drift_app, name="drift")
app.add_typer(pipeline.pipeline_app, name="pipeline")


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(version("coding-mcqa"))
        except PackageNotFoundError:
            typer.echo("not installed (running from a checkout)")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    spin_briefly()
    app(prog_name="mcqa")
