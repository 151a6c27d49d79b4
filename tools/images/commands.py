"""The commands for images. What they need is imported when one runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tools import options
from tools.project import LOCAL_REGISTRY, VERSION, registry_name


def register(app: typer.Typer) -> None:
    app.command("images")(build_images)
    app.command("images-scan")(scan_images)
    app.command("images-push")(push_images)
    app.command("images-login")(log_in)
    app.command("images-wheels")(download_wheels)


def build_images(
    names: options.ImageNames = None,
    registry: options.Registry = LOCAL_REGISTRY,
    tag: options.Tag = VERSION,
    engine: options.Engine = "",
    base: Annotated[
        str, typer.Option(envvar="BASE", metavar="IMAGE", help="Python 3.11 on Debian. Default: the Dockerfiles' own.")
    ] = "",
    cuda: Annotated[
        bool, typer.Option("--cuda", envvar="CUDA", help="torch's CUDA build in predictor and pipelines.")
    ] = False,
    wheels: Annotated[
        str,
        typer.Option(envvar="WHEELS", metavar="FOLDER", help="Packages from this folder alone, without a network."),
    ] = "",
    fill_wheels: Annotated[
        bool, typer.Option("--fill-wheels", envvar="WHEELS_FILL", help="Download the packages into that folder first.")
    ] = False,
    out: Annotated[
        str, typer.Option(envvar="OUT", metavar="FOLDER", help="Save each image there too: NAME.tar, an OCI archive.")
    ] = "",
    pip_conf: Annotated[
        str, typer.Option(envvar="PIP_CONF", metavar="FILE", help="pip's configuration; not kept in the image.")
    ] = "",
    ca: Annotated[str, typer.Option(envvar="CA", metavar="FILE", help="A CA bundle; not kept in the image.")] = "",
    flags: Annotated[
        str, typer.Option(envvar="BUILD_FLAGS", metavar="FLAGS", help="For the engine, as they are.")
    ] = "",
) -> None:
    """Build the images: all of them, or those that are named."""
    from tools.images import build
    from tools.images import engine as engines

    settings = build.Settings(
        registry=registry_name(registry),
        tag=tag,
        engine=engine,
        base=base,
        cuda=cuda,
        wheels=wheels,
        fill_wheels=fill_wheels,
        out=out,
        pip_conf=pip_conf,
        ca=ca,
        flags=tuple(flags.split()),
    )
    build.build(settings, engines.check_names(names))


def scan_images(
    names: options.ImageNames = None,
    registry: options.Registry = LOCAL_REGISTRY,
    tag: options.Tag = VERSION,
    engine: options.Engine = "",
    vulnerabilities: Annotated[
        str,
        typer.Option(
            envvar="IMAGES_SCAN_VULNERABILITIES",
            metavar="[require]",
            help="require: fetch trivy where it is not installed, as CI does.",
        ),
    ] = "",
) -> None:
    """Look through the images for what they must not hold. Exit status 1 when something is found.

    A root user, setuid files, files that anybody may write, compilers and installers, keys and passwords, foreign
    owners, missing labels; and, where trivy is installed, known vulnerabilities that are HIGH or CRITICAL and have a
    fix. deploy/trivyignore.yaml excuses some, each with a reason and an end.
    """
    from tools.images import engine as engines
    from tools.images.scan import scan

    clean = scan(
        engines.check_names(names),
        registry=registry_name(registry),
        tag=tag,
        asked=engine,
        require_trivy=vulnerabilities == "require",
        environ=os.environ,
    )
    raise typer.Exit(0 if clean else 1)


def push_images(
    names: options.ImageNames = None,
    registry: options.Registry = "",
    tag: options.Tag = VERSION,
    engine: options.Engine = "",
    from_registry: Annotated[
        str,
        typer.Option(envvar="FROM_REGISTRY", metavar="HOST/PATH", help="Push the images that were built by this name."),
    ] = "",
    digests: Annotated[
        Path, typer.Option(envvar="DIGESTS", metavar="FILE", help="Where the digests of what was pushed are written.")
    ] = Path("build/images.digests"),
    flags: Annotated[str, typer.Option(envvar="PUSH_FLAGS", metavar="FLAGS", help="For the engine, as they are.")] = "",
) -> None:
    """Push the images to a registry, and write down what was pushed by digest.

    A tag can be moved, a digest cannot. Log in first: `images-login`, `podman login` or `docker login`.
    """
    from tools.images import engine as engines
    from tools.images.push import push

    push(
        engines.check_names(names),
        registry=registry_name(registry),
        tag=tag,
        asked=engine,
        from_registry=from_registry,
        digests=digests,
        flags=flags.split(),
    )


def log_in(
    registry: options.Registry = "",
    user: Annotated[str, typer.Option(envvar="REGISTRY_USER", help="User name at the registry.")] = "",
    engine: options.Engine = "",
) -> None:
    """Log in to the registry that `images-push` pushes to.

    The password is read from the variable REGISTRY_PASSWORD and passed on through standard input: it is on no command
    line.
    """
    from tools.images.push import log_in

    password = os.environ.get("REGISTRY_PASSWORD", "")
    log_in(registry=registry, user=user, password=password, asked=engine)


def download_wheels(
    folder: Annotated[Path, typer.Argument(help="Where the packages go.")],
    names: options.ImageNames = None,
    cuda: Annotated[bool, typer.Option("--cuda", envvar="CUDA", help="torch's CUDA build.")] = False,
) -> None:
    """Download the images' packages, hashes checked, for builds without a network (WHEELS)."""
    from tools.images import engine as engines
    from tools.images import wheels

    wheels.download(folder, engines.check_names(names), cuda=cuda)
