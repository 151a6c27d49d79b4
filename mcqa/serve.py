"""`mcqa serve`: replaces this process by the predictor's server."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from local.platform import listeners
from local.platform.settings import ROOT
from mcqa import defaults
from mcqa.errors import CommandError
from mcqa.paths import mcqa_command


def command(model: str | None = None, port: int | None = None, grpc_port: int | None = None) -> list[str]:
    """The model server's command line; an option that is not given is left to the server and its environment."""
    flags = {"--model": model, "--http-port": port, "--grpc-port": grpc_port}
    options = [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]
    return [sys.executable, "-m", "predictor", *options]


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

    Other options are passed to the server unchanged: see [bold]python -m predictor --help[/].
    """
    port = _port(port, ("MCQA_HTTP_PORT", "PORT"), ("--http-port", "--http_port"), context.args, defaults.HTTP_PORT)
    grpc_port = _port(grpc_port, ("MCQA_GRPC_PORT",), ("--grpc-port", "--grpc_port"), context.args, defaults.GRPC_PORT)
    _require_free(port, grpc_port)
    line = [*command(model, port, grpc_port), *context.args]
    os.environ[listeners.CHECKOUT_VARIABLE] = str(ROOT)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(line[0], line)


def _port(
    option: int | None, variables: Sequence[str], flags: Sequence[str], arguments: Sequence[str], default: int
) -> int | None:
    """The option, or our default; None where the server's own flag or variable sets the port."""
    set_elsewhere = any(os.environ.get(variable) for variable in variables) or any(
        argument.split("=")[0] in flags for argument in arguments
    )
    return default if option is None and not set_elsewhere else option


def _require_free(port: int | None, grpc_port: int | None) -> None:
    """CommandError that names every port that is in use, and the line to type instead."""
    ports = {"--port": port, "--grpc-port": grpc_port}
    busy = {flag: number for flag, number in ports.items() if number and listeners.bind_problem(number)}
    if not busy:
        return
    owners = listeners.find_listeners(busy.values())
    problems = "; ".join(
        f"{flag} {number} {listeners.bind_problem(number)}" + (f" by {owners[number]}" if number in owners else "")
        for flag, number in busy.items()
    )
    options = " ".join(f"{flag} {listeners.next_free_port(number)}" for flag, number in busy.items())
    raise CommandError(f"{problems}: try `{mcqa_command()} serve {options}`")
