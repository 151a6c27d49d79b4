"""The commands of continuous integration and of a checkout. What they need is imported when one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.names import MODEL
from tools.ci.suites import Suite

LIMIT, MARGIN, CANARY_MINUTES = 1000, 0.02, 180.0


def register(app: typer.Typer) -> None:
    arguments = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("test", context_settings=arguments)(run_tests)
    app.command("evaluate")(evaluate)
    app.command("promote")(promote)
    app.command("lint-jenkinsfile")(lint_jenkinsfile)
    app.command("lock")(lock)
    app.command("compose-env")(compose_env)
    app.command("docs", context_settings=arguments)(docs)
    app.command("prose", context_settings=arguments)(prose)
    app.command("readme", context_settings=arguments)(readme)


def run_tests(
    context: typer.Context,
    suite: Annotated[
        Suite,
        typer.Argument(help="unit: no process is started, no port opened. integration: real servers, real clients."),
    ],
) -> None:
    """Run one test suite, with JUnit and coverage reports in build/reports. What follows goes to pytest."""
    from tools.ci import suites

    raise typer.Exit(suites.run(suite, context.args))


def evaluate(
    model: Annotated[str, typer.Option(help="Version to load here. Default: the shipped tiny model.")] = "",
    url: Annotated[str, typer.Option(help="Running server to ask instead.")] = "",
    bank: Annotated[str, typer.Option(help="Questions, as of `mcqa evaluate`. Default: generated.")] = "",
    limit: Annotated[int, typer.Option(help="How many questions.")] = LIMIT,
    baseline: Annotated[Path, typer.Option(help="The stored baseline.")] = Path("tools/ci/evaluation-baseline.json"),
    margin: Annotated[float, typer.Option(help="Loss that must be excluded, of accuracy and Brier score.")] = MARGIN,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("build/reports/evaluation"),
    write: Annotated[
        bool, typer.Option("--write", help="Store what was measured as the baseline instead of comparing.")
    ] = False,
) -> None:
    """Compare a model with the stored baseline on fixed questions, answer by answer.

    Exit status 1 where it cannot be shown to be as good, 2 where nothing could be compared.
    """
    from tools.ci.evaluation import Measurement, evaluate

    passed = evaluate(Measurement(model, url, bank, limit, out), baseline, margin, write=write)
    raise typer.Exit(0 if passed else 1)


def _version(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"must be a version's number, found {text!r}")
    return text


def promote(
    version: Annotated[str, typer.Argument(callback=_version, help="Number of the registered version.")],
    model: Annotated[str, typer.Option(help="Registered model.")] = MODEL,
    minutes: Annotated[float, typer.Option(help="How long to follow the canary.")] = CANARY_MINUTES,
) -> None:
    """Give a registered version the alias challenger and follow its canary to the end.

    Exit status 0 when it was promoted, 1 when not. The registry is MLFLOW_TRACKING_URI's, or the one of the loop that
    runs here; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, where it wants them.
    """
    from tools.ci.promotion import follow

    raise typer.Exit(0 if follow(version, model, minutes) else 1)


def lint_jenkinsfile(
    jenkinsfile: Annotated[Path, typer.Argument(help="The file to lint.")] = Path("Jenkinsfile"),
) -> None:
    """Lint the Jenkinsfile with npm-groovy-lint. Needs Node and Java 17; the linter is installed into .cache."""
    from tools.ci import jenkinsfile as linter

    raise typer.Exit(linter.lint(jenkinsfile))


def lock(
    check: Annotated[bool, typer.Option("--check", help="Only have the resolver check the lock files.")] = False,
) -> None:
    """Resolve pyproject.toml and the images' requirements into their lock files; check them for every Python."""
    from tools import locks

    if not check:
        locks.lock_project()
        locks.lock_images()
    locks.check_project()


def compose_env() -> None:
    """Write .env for compose.yaml with random passwords. An existing one is left as it is."""
    from tools import compose

    compose.write_env()


def docs(context: typer.Context) -> None:
    """Build the documentation site in build/site; every link must resolve. --write: rewrite the generated pages."""
    from tools import docs

    raise typer.Exit(docs.main(context.args))


def prose(context: typer.Context) -> None:
    """Check the wording of pages, docstrings, comments and messages against docs/prose.toml, in files or folders."""
    from tools import prose

    raise typer.Exit(prose.main(context.args))


def readme(context: typer.Context) -> None:
    """Run the commands that README.md shows and compare their output. --write: replace it."""
    from tools import readme

    raise typer.Exit(readme.main(context.args))
