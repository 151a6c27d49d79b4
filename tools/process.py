"""Running other programs: always as a list of arguments, always with the exit status checked.

Secrets go to a program's standard input or environment, never into its arguments: those are visible to every user of
the machine and end up in error messages.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from tools.errors import CommandFailedError, ToolError

Completed = subprocess.CompletedProcess[str]
Environment = Mapping[str, str]


def run(
    command: Sequence[str], *, text: str | None = None, env: Environment | None = None, quiet: bool = False
) -> None:
    """Runs the command with our stdout (nowhere with `quiet`) and stderr; `text` is its standard input."""
    stdout = subprocess.DEVNULL if quiet else None
    try:
        completed = subprocess.run(command, input=text, stdout=stdout, env=env, text=True, check=False)
    except FileNotFoundError:
        raise _not_installed(command) from None
    _check(command, completed)


def output(command: Sequence[str], *, text: str | None = None, env: Environment | None = None) -> str:
    """What the command prints on stdout; its stderr is ours."""
    try:
        completed = subprocess.run(command, input=text, stdout=subprocess.PIPE, env=env, text=True, check=False)
    except FileNotFoundError:
        raise _not_installed(command) from None
    _check(command, completed)
    return completed.stdout


def attempt(
    command: Sequence[str], *, text: str | None = None, env: Environment | None = None, show_errors: bool = False
) -> Completed:
    """The command's exit status and output, where failing is one of the answers. `show_errors`: its stderr is ours."""
    stderr = None if show_errors else subprocess.PIPE
    try:
        return subprocess.run(
            command, input=text, stdout=subprocess.PIPE, stderr=stderr, env=env, text=True, check=False
        )
    except FileNotFoundError:
        raise _not_installed(command) from None


def status(command: Sequence[str], *, env: Environment | None = None) -> int:
    """The command's exit status, with our stdout and stderr, where failing is one of the answers."""
    try:
        return subprocess.run(command, env=env, check=False).returncode
    except FileNotFoundError:
        raise _not_installed(command) from None


def last_line(text: str) -> str:
    """The line in which most programs say what went wrong."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _check(command: Sequence[str], completed: Completed) -> None:
    status = completed.returncode
    if status:
        code = status if status > 0 else 128 - status
        raise CommandFailedError(f"`{' '.join(command[:3])} …` ended with status {code}; see above", code)


def _not_installed(command: Sequence[str]) -> ToolError:
    return ToolError(f"{command[0]} is not installed")
