"""Which address a verb talks to: one pure decision for all of them. `targets` supplies the facts.

A flag, else the environment, else the loop of `--dir` or `MCQA_LOCAL_DIR` or of this checkout, else a default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mcqa import defaults
from mcqa.errors import CommandError, LoopNotRunningError

FOLDER_VARIABLE = "MCQA_LOCAL_DIR"
QUESTIONS_VARIABLE = "MCQA_URL"
GRPC_VARIABLE = "MCQA_GRPC_TARGET"
DATABASE_VARIABLE = "MCQA_DATABASE_URL"
SINK_VARIABLE = "K_SINK"
PIPELINES_VARIABLE = "KFP_ENDPOINT"
LOOP_VARIABLES = (QUESTIONS_VARIABLE, DATABASE_VARIABLE, SINK_VARIABLE)
"""Any of them means a loop other than this checkout's: what concerns it goes there or nowhere."""


class AddressSource(StrEnum):
    """Where an address came from."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    LOOP = "loop"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A part of the loop that verbs talk to, the variable that names it, and its address when nothing else is known."""

    name: str
    variable: str
    default: str | None = None


QUESTIONS = Endpoint("questions", QUESTIONS_VARIABLE, defaults.URL)
GRPC = Endpoint("questions over gRPC", GRPC_VARIABLE, defaults.GRPC_TARGET)
EVENTS = Endpoint("events", SINK_VARIABLE)
PIPELINES = Endpoint("pipelines", PIPELINES_VARIABLE)
DATABASE = Endpoint("figures", DATABASE_VARIABLE)


@dataclass(frozen=True, slots=True)
class Target:
    """An address and its source: `setting` is the flag or variable, `folder` the loop's, where it is one.

    Without an address there is nothing to talk to: `reason` says why.
    """

    address: str | None
    source: AddressSource
    setting: str = ""
    folder: Path | None = None
    reason: str = ""


def resolve(
    endpoint: Endpoint,
    running: Callable[[Path], str | None],
    *,
    flag: str | None = None,
    directory: Path | None = None,
    environ: Mapping[str, str],
    checkout: Path,
) -> Target:
    """Where `endpoint` is. `running` returns its address in the loop of a folder, None when that loop is not running.

    `checkout` is the folder of this checkout's loop. CommandError for a flag together with `--dir`;
    LoopNotRunningError when the loop of `--dir` is not running.
    """
    if flag is not None:
        if directory is not None:
            raise CommandError(f"give an address or --dir, not both: found {flag} and {directory}")
        return Target(flag, AddressSource.FLAG, "--url")
    if directory is not None:
        if address := running(directory):
            return Target(address, AddressSource.LOOP, "--dir", directory)
        raise LoopNotRunningError(f"the loop in {directory} is not running: start it with `mcqa up --dir {directory}`")
    if address := environ.get(endpoint.variable):
        return Target(address, AddressSource.ENVIRONMENT, endpoint.variable)
    if other := next((name for name in LOOP_VARIABLES if environ.get(name)), None):
        reason = f"{other} names another loop, but {endpoint.variable} is not set to say where its {endpoint.name} are"
        return Target(None, AddressSource.ENVIRONMENT, other, reason=reason)
    folder_name = environ.get(FOLDER_VARIABLE)
    folder = Path(folder_name) if folder_name else checkout
    if address := running(folder):
        return Target(address, AddressSource.LOOP, FOLDER_VARIABLE if folder_name else "", folder)
    not_running = f"the loop in {folder} is not running"
    if folder_name:
        return Target(None, AddressSource.LOOP, FOLDER_VARIABLE, folder, reason=not_running)
    return Target(endpoint.default, AddressSource.DEFAULT, reason="" if endpoint.default else not_running)
