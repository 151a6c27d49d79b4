"""The commands for manifests. What they need is imported when one runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("manifests")(validate)
    app.command("manifests-render")(render)
    app.command("manifests-check", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(check)
    app.command("schemas")(write_schemas)


def validate(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="[FOLDER]…", help="Kustomizations. Default: all of them.")
    ] = None,
) -> None:
    """Render kserve, knative, every overlay and component, and validate each document strictly.

    A field that its schema does not name is an error. Exit status 1 when anything is wrong.
    """
    from tools.manifests.validate import validate

    raise typer.Exit(0 if validate(folders or []) else 1)


def render(out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they are written.")]) -> None:
    """Write the overlays as tools want them that know only Kubernetes' own kinds.

    What KServe and Knative make pods of is there as Pods.
    """
    from tools.manifests.render import write

    write(out)


def check(
    context: typer.Context,
    checkov: Annotated[
        str, typer.Option(envvar="CHECKOV", metavar="PROGRAM", help="checkov. Default: one that is installed here.")
    ] = "",
) -> None:
    """Look for insecure settings in every overlay, with checkov. Other options go to checkov."""
    from tools.manifests.checkov import check

    raise typer.Exit(check(checkov, context.args, os.environ))


def write_schemas(
    kubernetes: Annotated[
        Path | None,
        typer.Option(
            help="`kubernetes-json-schema/vX.Y.0-local-strict` of the PyPI package kubernetes-validate.",
        ),
    ] = None,
    crds: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with CustomResourceDefinitions, as each project publishes them. May be repeated."),
    ] = None,
) -> None:
    """Make deploy/schemas for a new version of Kubernetes, KServe, Knative or another project.

    What the folders do not have is kept as it is.
    """
    from tools.manifests.schemas import write

    write(kubernetes, crds or [])
