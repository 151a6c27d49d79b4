"""Failures that end a tool with one line on stderr: what failed, what was found, what to do next."""

from __future__ import annotations


class ToolError(Exception):
    """`exit_code` becomes the process's exit status: 1 failed, 2 called with something that cannot be used."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class CommandFailedError(ToolError):
    """A program that a tool runs ended with an error, which it has printed itself."""
