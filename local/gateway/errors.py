"""What the gateway itself answers."""

from __future__ import annotations

from collections.abc import Sequence


class Refusal(Exception):
    """A request that is not passed on: the status, the reason for people, and further headers."""

    def __init__(self, status: int, why: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.status, self.headers = status, tuple(headers)
        super().__init__(why)


class Unavailable(Refusal):
    """503: it may be tried again."""

    def __init__(self, why: str) -> None:
        super().__init__(503, why, [("Retry-After", "1")])


class Broken(Exception):
    """A replica broke off; nothing can be said to the client any more but that."""
