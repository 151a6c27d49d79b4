"""Where a verb finds what it speaks to, decided in one place.

A flag, else the environment, else the loop of `--dir` or `MCQA_LOCAL_DIR` or of this checkout, else a default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mcqa import defaults
from mcqa.errors import CommandError

FOLDER_VARIABLE = "MCQA_LOCAL_DIR"
QUESTIONS_VARIABLE = "MCQA_URL"
GRPC_VARIABLE = "MCQA_GRPC_TARGET"
DATABASE_VARIABLE = "MCQA_DATABASE_URL"
SINK_VARIABLE = "K_SINK"
PIPELINES_VARIABLE = "KFP_ENDPOINT"
LOOP_VARIABLES = (QUESTIONS_VARIABLE, DATABASE_VARIABLE, SINK_VARIABLE)
"""Any of them says that the loop is another one than this checkout's: what is asked of it is asked there or nowhere."""


class Chosen(StrEnum):
    """What decided on an address."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    LOOP = "loop"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Role:
    """What is looked for: the variable that names it, and where it is when nothing else is known."""

    name: str
    variable: str
    default: str | None = None


QUESTIONS = Role("questions", QUESTIONS_VARIABLE, defaults.URL)
GRPC = Role("questions over gRPC", GRPC_VARIABLE, defaults.GRPC_TARGET)
EVENTS = Role("events", SINK_VARIABLE)
PIPELINES = Role("pipelines", PIPELINES_VARIABLE)
DATABASE = Role("figures", DATABASE_VARIABLE)


@dataclass(frozen=True, slots=True)
class Target:
    """An address and what decided on it: `named` is the flag or variable, `folder` the loop's, where it is one.

    Without an address, what was named has none: `why` says so.
    """

    address: str | None
    chosen: Chosen
    named: str = ""
    folder: Path | None = None
    why: str = ""


class NotRunning(CommandError):
    """The loop that was named is not up."""


def resolve(
    role: Role,
    running: Callable[[Path], str | None],
    *,
    flag: str | None = None,
    directory: Path | None = None,
    environ: Mapping[str, str],
    checkout: Path,
) -> Target:
    """Where `role` is. `running` gives the address in the loop of a folder that is up, None for one that is not.

    `checkout` is the folder of this checkout's loop. CommandError for a flag beside `--dir`; NotRunning when the loop
    of `--dir` is not up.
    """
    if flag is not None:
        if directory is not None:
            raise CommandError(f"give an address or --dir, not both: found {flag} and {directory}")
        return Target(flag, Chosen.FLAG, "--url")
    if directory is not None:
        if address := running(directory):
            return Target(address, Chosen.LOOP, "--dir", directory)
        raise NotRunning(f"the loop in {directory} is not running: start it with `mcqa up --dir {directory}`")
    if address := environ.get(role.variable):
        return Target(address, Chosen.ENVIRONMENT, role.variable)
    if other := next((name for name in LOOP_VARIABLES if environ.get(name)), None):
        why = f"{other} names another loop, and {role.variable} is not set to say where its {role.name} are"
        return Target(None, Chosen.ENVIRONMENT, other, why=why)
    named = environ.get(FOLDER_VARIABLE)
    folder = Path(named) if named else checkout
    if address := running(folder):
        return Target(address, Chosen.LOOP, FOLDER_VARIABLE if named else "", folder)
    if named:
        return Target(None, Chosen.LOOP, FOLDER_VARIABLE, folder, why=f"the loop in {folder} is not running")
    return Target(role.default, Chosen.DEFAULT, why="" if role.default else f"the loop in {folder} is not running")
