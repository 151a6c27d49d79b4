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
from local.kube.errors import StatusError
from local.kube.requests import RequestInfo
from local.kube.resources import Object
from local.kube.store import ResourceStore
from local.storage import StorageError

BOOKMARK_SECONDS = 30.0
POLL_SECONDS = 0.5
DEFAULT_SECONDS = 3600
_INITIAL_END = "k8s.io/initial-events-end"


class ChangeNotifier:
    """Wakes watchers when this process writes; other processes' writes are found by polling."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.closing = False

    def notify(self) -> None:
        """From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Ends every watch."""
        self.closing = True
        self.notify()

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
class WatchOptions:
    """What a client wants to see. `since` None means the existing objects first; `seconds` the longest stream."""

    target: RequestInfo
    labels: str = ""
    fields: str = ""
    since: int | None = None
    seconds: int = DEFAULT_SECONDS
    bookmarks: bool = False
    mark_initial: bool = False


async def event_stream(
    store: ResourceStore, changes: ChangeNotifier, options: WatchOptions, transform: Callable[[Object], Any]
) -> AsyncIterator[bytes]:
    """The events, one JSON object a line; `transform` turns an object into what the client accepts, such as a Table."""
    resource, namespace = options.target.resource, options.target.namespace
    accepts = selectors.object_selector(options.labels, options.fields, resource.kind)
    deadline, marked = time.monotonic() + options.seconds, time.monotonic()
    try:
        since = options.since
        if since is None:
            listing = await run_in_threadpool(
                store.list, resource, namespace, labels=options.labels, fields=options.fields
            )
            since = listing.version
            for item in listing.items:
                yield _line("ADDED", transform(item))
            if options.mark_initial:
                yield _bookmark(options.target, since, {_INITIAL_END: "true"})
        while not changes.closing:
            reached, batch = await run_in_threadpool(store.changes, resource, namespace, since, accepts)
            for change in batch:
                yield _line(change.type, transform(change.object))
            now, since = time.monotonic(), reached
            if options.bookmarks and (now - marked >= BOOKMARK_SECONDS or now >= deadline):
                yield _bookmark(options.target, since)
                marked = now
            if now >= deadline:
                return
            if not batch:
                await changes.wait(min(POLL_SECONDS, deadline - now))
    except StatusError as error:
        yield _line("ERROR", error.status())
    except StorageError as error:
        yield _line("ERROR", errors.unavailable(str(error)).status())


def _line(type: str, item: Any) -> bytes:
    return json.dumps({"type": type, "object": item}, separators=(",", ":")).encode() + b"\n"


def _bookmark(target: RequestInfo, version: int, annotations: dict[str, str] | None = None) -> bytes:
    resource = target.resource
    metadata: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return _line("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})
