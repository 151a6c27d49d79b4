"""The gateway's own error responses."""

from __future__ import annotations

from collections.abc import Sequence


class GatewayError(Exception):
    """A request that the gateway answers itself: the status, the message for people, and additional headers."""

    def __init__(self, status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.status, self.headers = status, tuple(headers)
        super().__init__(message)


class UnavailableError(GatewayError):
    """503: the client may retry."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message, [("Retry-After", "1")])


class UpstreamAbortedError(Exception):
    """A replica aborted its response."""
