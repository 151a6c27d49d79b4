"""Requests to the broker of a loop on this machine; its refusals become one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcqa.errors import CommandError

if TYPE_CHECKING:
    import httpx2


def connect(directory: Path | None, *, announce: bool = True, timeout: float = 10.0) -> httpx2.Client:
    """The broker of the running loop; `announce`: one line on stderr says which loop that is."""
    from mcqa import loop, terminal

    folder = loop.require_running(loop.folder(directory))
    if announce:
        terminal.note(loop.name(folder))
    return loop.broker(folder, timeout)


def get(broker: httpx2.Client, path: str, query: dict[str, Any] | None = None) -> Any:
    """The broker's response as JSON, or CommandError with its message."""
    return _request(broker, lambda: broker.get(path, params=query))


def post(broker: httpx2.Client, path: str) -> Any:
    return _request(broker, lambda: broker.post(path))


def _request(broker: httpx2.Client, send: Callable[[], httpx2.Response]) -> Any:
    import httpx2

    try:
        response = send()
    except httpx2.TransportError as error:
        raise CommandError(f"the broker at {broker.base_url} does not answer ({error}): is the loop running?") from None
    return read(response)


def read(response: httpx2.Response) -> Any:
    """A response's JSON; CommandError with the broker's message where it is an error."""
    if response.is_success:
        return response.json()
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = f"the broker answered {response.status_code}: {response.text[:200]}"
    raise CommandError(message)
