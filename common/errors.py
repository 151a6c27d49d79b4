"""Errors that several packages raise and catch, whatever the protocol. Their messages are one line for people."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting is missing or unusable; the message names it, what was found, and what is allowed."""


class UnavailableError(Exception):
    """A server that is needed does not answer or does not let us in; trying again later can help.

    `status` is the HTTP status of its refusal; 0 where nothing answered.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class RefusedError(Exception):
    """A server understood the request and rejects it, however often it is sent."""
