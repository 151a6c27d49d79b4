"""Failures that end a verb with one line on stderr: what failed, what was found, what to do next."""

from __future__ import annotations

from collections.abc import Sequence


class CommandError(Exception):
    """`exit_code` is the process's; `details` are printed a line each below the message, the first ten."""

    exit_code = 1

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class Interrupted(CommandError):
    """Ctrl-C, where something is left to say."""

    exit_code = 130


class ServerError(CommandError):
    """A server refused or failed a request. `status` is its HTTP status, or what its gRPC code amounts to."""

    def __init__(self, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class NoServer(CommandError):
    """Nothing answered at the address at all."""
