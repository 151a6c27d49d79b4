"""Failures that end a verb with one line on stderr: what failed, what was found, what to do next."""

from __future__ import annotations


class CommandError(Exception):
    """Exit code 1."""


class ServerError(CommandError):
    """A server refused or failed a request. `status` is its HTTP status, or what its gRPC code amounts to."""

    def __init__(self, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class NoServer(CommandError):
    """Nothing answered at the address at all."""
