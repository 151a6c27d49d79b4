"""The streaming half of the HTTP API: watches as lines of JSON, with bookmarks and 410 for what is forgotten."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from local.kube import errors, selectors
from local.kube.errors import ApiError
from local.kube.requests import Target
from local.kube.resources import Object
from local.kube.store import Store
from local.storage import StorageError

BOOKMARK_SECONDS = 30.0
POLL_SECONDS = 0.5
DEFAULT_SECONDS = 3600
_INITIAL_END = "k8s.io/initial-events-end"


class Ticks:
    """Wakes watchers when this process writes; other processes' writes are found by looking now and then."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.closing = False

    def tick(self) -> None:
        """From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Ends every watch."""
        self.closing = True
        self.tick()

    async def wait(self, seconds: float) -> None:
        event = self._event
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return

    def _wake(self) -> None:
        self._event.set()
        self._event = asyncio.Event()


@dataclass(frozen=True, slots=True)
class Watch:
    """What a client wants to see. `since` None means the existing objects first; `seconds` the longest stream."""

    target: Target
    labels: str = ""
    fields: str = ""
    since: int | None = None
    seconds: int = DEFAULT_SECONDS
    bookmarks: bool = False
    mark_initial: bool = False


async def stream(store: Store, ticks: Ticks, watch: Watch, form: Callable[[Object], Any]) -> AsyncIterator[bytes]:
    """The events, one JSON object a line; `form` makes of an object what the client accepts (a Table, say)."""
    resource, namespace = watch.target.resource, watch.target.namespace
    accepts = selectors.both(watch.labels, watch.fields, resource.kind)
    deadline, marked = time.monotonic() + watch.seconds, time.monotonic()
    try:
        since = watch.since
        if since is None:
            listing = await run_in_threadpool(store.list, resource, namespace, labels=watch.labels, fields=watch.fields)
            since = listing.version
            for item in listing.items:
                yield _line("ADDED", form(item))
            if watch.mark_initial:
                yield _bookmark(watch.target, since, {_INITIAL_END: "true"})
        while not ticks.closing:
            reached, changes = await run_in_threadpool(store.changes, resource, namespace, since, accepts)
            for change in changes:
                yield _line(change.type, form(change.object))
            now, since = time.monotonic(), reached
            if watch.bookmarks and (now - marked >= BOOKMARK_SECONDS or now >= deadline):
                yield _bookmark(watch.target, since)
                marked = now
            if now >= deadline:
                return
            if not changes:
                await ticks.wait(min(POLL_SECONDS, deadline - now))
    except ApiError as error:
        yield _line("ERROR", error.status())
    except StorageError as error:
        yield _line("ERROR", errors.unavailable(str(error)).status())


def _line(type: str, item: Any) -> bytes:
    return json.dumps({"type": type, "object": item}, separators=(",", ":")).encode() + b"\n"


def _bookmark(target: Target, version: int, annotations: dict[str, str] | None = None) -> bytes:
    resource = target.resource
    metadata: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return _line("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})
