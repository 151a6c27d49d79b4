"""`mcqa model`: train the tiny model, fetch a version, show a version."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from common.question import LETTERS
from mcqa import defaults, local_model, terminal
from mcqa.errors import CommandError
from mcqa.paths import displayed
from mcqa.readmodels.model import ModelFacts, of_folder, of_hub
from predictor.storage import resolver
from predictor.storage.download import format_bytes
from predictor.storage.uri import HubModel, LocalFolder, MlflowVersion, parse

app = typer.Typer(no_args_is_help=True, help="Train the tiny model, fetch a model version, show what one is.")


@app.command("make-tiny")
def make_tiny(
    out: Annotated[Path, typer.Option(help="Folder to write.", file_okay=False)] = Path("models/my-tiny"),
    seed: Annotated[
        int | None, typer.Option(help="Seed of data and weights.", show_default="the shipped model's")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps.", show_default="the shipped model's")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Train for this long instead of a number of steps.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two easy subjects in about a minute.")] = False,
) -> None:
    """Train the tiny Qwen2 on the generated bank, on the CPU."""
    if steps is not None and minutes is not None:
        raise typer.BadParameter("give one of them", param_hint="--steps / --minutes")
    from pipelines import tiny

    make = partial(tiny.make_tiny, out, steps=steps, minutes=minutes, quick=quick)
    trained = make() if seed is None else make(seed=seed)
    terminal.out.print(f"{trained.steps:,} steps, {trained.questions:,} questions, {trained.seconds:,.0f} s\n")
    table = terminal.plain_table(gap=3)
    table.add_column("subject", style="cyan")
    table.add_column("accuracy on unseen questions")
    for name, score in sorted(trained.scores.items(), key=lambda item: -item[1].value):
        table.add_row(name, str(score))
    for name, score in trained.held_out.items():
        table.add_row(f"{name} [dim](never trained)[/]", str(score))
    terminal.out.print(table)
    terminal.out.print()
    _print(of_folder(out, str(out)), out)


@app.command()
def fetch(
    uri: Annotated[str, typer.Argument(help="hf://owner/model\\[@revision], mlflow://name/version, or a folder.")],
    to: Annotated[Path | None, typer.Option(help="Folder to put it in.", show_default="the cache")] = None,
) -> None:
    """Fetch a model version to this machine and check it. An interrupted download resumes."""
    if to is None:
        folder = local_model.resolve(uri)
    else:
        with terminal.downloads() as progress:
            folder = resolver.fetch(uri, to, progress=progress)
    _print(of_folder(folder, uri), folder)


@app.command()
def show(
    uri: Annotated[
        str, typer.Argument(help="hf://owner/model\\[@revision] or a folder.", show_default="the shipped tiny model")
    ] = str(defaults.TINY_MODEL),
) -> None:
    """Show what a model version is, without downloading it."""
    folder: Path | None
    match parse(uri):
        case HubModel(repository, revision):
            from predictor.storage import huggingface

            folder = huggingface.cached(repository, revision, cache=None)
            _print(of_folder(folder, uri) if folder else of_hub(repository, revision, uri), folder)
        case MlflowVersion():
            raise CommandError(f"cannot show {uri} without fetching it: run `mcqa model fetch {uri}`")
        case LocalFolder():
            folder = resolver.resolve(uri)
            _print(of_folder(folder, uri), folder)


def _print(facts: ModelFacts, folder: Path | None) -> None:
    table = terminal.plain_table(gap=3, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("model", facts.source)
    if folder is not None and str(folder) != facts.source:
        table.add_row("folder", displayed(folder))
    table.add_row("architecture", facts.architecture)
    if facts.dtypes:
        kinds = ", ".join(
            f"{name} {count:,}" if len(facts.dtypes) > 1 else name for name, count in facts.dtypes.items()
        )
        table.add_row("parameters", f"{facts.parameters:,} ({kinds})")
    if facts.context:
        table.add_row("context", f"{facts.context:,} tokens")
    if facts.letters is not None:
        missing = "".join(x for x in LETTERS if x not in facts.letters)
        good = f"{LETTERS[0]} to {LETTERS[-1]} are one token each"
        table.add_row("letters", good if not missing else f"[red]{missing} are not one token: it cannot be served[/]")
    table.add_row("size", format_bytes(facts.bytes))
    for name, count in sorted(facts.files.items(), key=lambda item: -item[1]):
        table.add_row("", f"{format_bytes(count):>9}  {name}", style="dim")
    terminal.out.print(table)
    target = facts.source if folder is None else displayed(folder)
    verb = "fetch it: mcqa model fetch" if folder is None else "serve it: mcqa serve --model"
    terminal.out.print(f"\n{verb} {target}", style="dim", soft_wrap=True, markup=False)
