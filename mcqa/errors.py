"""Errors that end a verb with one line on stderr: what failed, what was found, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from common.errors import UnavailableError

from common.errors import UnavailableError


class CommandError(Exception):
    """`exit_code` is the process's; the first ten `details` are printed below the message, one per line."""

    exit_code = 1

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class CommandInterruptedError(CommandError):
    """Ctrl-C, where there is something left to say."""

    exit_code = 130


class LoopNotRunningError(CommandError):
    """The loop that was named is not running."""


class ServerError(CommandError):
    """A server refused or failed a request. `status` is its HTTP status, or the equivalent of its gRPC code."""

    def __init__(self, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class ServerUnreachableError(CommandError):
    """Nothing answered at the address."""

    @classmethod
    def at(cls, address: str) -> ServerUnreachableError:
        return cls(f"no server answers at {address}: start one with `mcqa serve`, or give --url or --model")


class ServerTimeoutError(ServerUnreachableError):
    """Something listens at the address, but did not answer in time."""


@contextmanager
def unavailable_as_command_error(*others: type[Exception], hint: str = "") -> Iterator[None]:
    """What a function would answer with 503 becomes one line, ending with `hint`; so do `others`, without it."""
    try:
        yield
    except UnavailableError as error:
        raise CommandError(f"{error}{hint}") from None
    except others as error:
        raise CommandError(str(error)) from None
