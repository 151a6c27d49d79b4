"""What can go wrong when a model version is fetched."""

from __future__ import annotations


class StorageError(RuntimeError):
    """A model version cannot be fetched. One line: what failed, what was found, what to do next."""


class RegistryUnavailableError(StorageError):
    """The registry does not answer, so a later attempt may succeed."""


class TransientError(Exception):
    """A download failed in a way that may pass; `retry_after` seconds is what the server asked to wait."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)
