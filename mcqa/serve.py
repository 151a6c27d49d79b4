"""`mcqa serve`: the predictor's server, in this process's place."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mcqa import defaults


def command(model: str | None = None, port: int | None = None, grpc_port: int | None = None) -> list[str]:
    """The command line of the model server; what is not given is the server's own default or environment variable."""
    flags = {"--model": model, "--http-port": port, "--grpc-port": grpc_port}
    given = [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]
    return [sys.executable, "-m", "predictor", *given]


def serve(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model version: a folder, hf://owner/model\\[@revision] or mlflow://name/version.",
            show_default="the shipped tiny model",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="REST port (v1 and v2).", show_default=str(defaults.HTTP_PORT))
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="gRPC port (v2), 0 for none.", show_default=str(defaults.GRPC_PORT))
    ] = None,
) -> None:
    """Serve a model version over KServe's v1, v2 REST and v2 gRPC.

    Further options go to the server as they are: see [bold]python -m predictor --help[/].
    """
    line = [*command(model, port, grpc_port), *context.args]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(line[0], line)
