"""`mcqa serve`: the predictor's server, in this process's place."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from local.platform import listeners
from local.platform.settings import ROOT
from mcqa import defaults, local
from mcqa.errors import CommandError


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
    port = _port(port, ("MCQA_HTTP_PORT", "PORT"), ("--http-port", "--http_port"), context.args, defaults.HTTP_PORT)
    grpc_port = _port(grpc_port, ("MCQA_GRPC_PORT",), ("--grpc-port", "--grpc_port"), context.args, defaults.GRPC_PORT)
    _require_free(port, grpc_port)
    line = [*command(model, port, grpc_port), *context.args]
    os.environ[listeners.CHECKOUT_VARIABLE] = str(ROOT)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(line[0], line)


def _port(
    given: int | None, variables: Sequence[str], flags: Sequence[str], further: Sequence[str], default: int
) -> int | None:
    """Ours where neither our option, nor the server's own, nor its variables name one; None where the server knows."""
    told = any(os.environ.get(name) for name in variables) or any(word.split("=")[0] in flags for word in further)
    return default if given is None and not told else given


def _require_free(port: int | None, grpc_port: int | None) -> None:
    """CommandError naming everything that is in the way, and the line to type instead."""
    wanted = {"--port": port, "--grpc-port": grpc_port}
    busy = {flag: number for flag, number in wanted.items() if number and listeners.bind_problem(number)}
    if not busy:
        return
    found = listeners.find_listeners(busy.values())
    told = "; ".join(
        f"{flag} {number} {listeners.bind_problem(number)}" + (f" by {found[number]}" if number in found else "")
        for flag, number in busy.items()
    )
    other = " ".join(f"{flag} {listeners.next_free_port(number)}" for flag, number in busy.items())
    raise CommandError(f"{told}: try `{local.invocation()} serve {other}`")
