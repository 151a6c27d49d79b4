"""Requests and responses of an InferenceService as CloudEvents, as KServe's agent sends them (kserve `pkg/logger`).

Binary mode, one event for each request, a GET's too, and one for each response with status 200, both with the same id
and source; the response's event carries the request's content type. `time` is when the request or response was there,
`recordedtime` when a worker sends the event. All is off the path of the answer: a sink that is slow or gone loses
events, never requests. Unlike the agent, which sends once, an event that the sink cannot take at the moment waits for
it, up to RETRY_SECONDS: it has its id, by which the second of two is known. A body is copied as it was sent, compressed
where it was, and no header says so: the agent reads none but Content-Type. What a client broke off is no event here: it
says nothing about the version.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from local.storage import pauses

log = logging.getLogger("gateway")

SOURCE = "http://localhost:9081/"
WORKERS = 5
QUEUE = 1000
QUEUE_BYTES = 64 * 2**20
SEND_SECONDS = 10.0
RETRY_SECONDS = 300.0
_LATER = frozenset({408, 429, 500, 502, 503, 504, 507})


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Where a revision's events go, and what they say of it."""

    url: str
    mode: str
    service: str
    namespace: str
    component: str
    endpoint: str
    headers: tuple[str, ...]
    annotations: Mapping[str, str]

    def wants(self, type: str) -> bool:
        return self.mode == "all" or type.endswith(f".{self.mode}")


@dataclass(frozen=True, slots=True)
class Payload:
    """One event to send."""

    target: LogTarget
    type: str
    id: str
    content_type: str
    metadata: Mapping[str, list[str]]
    body: bytes
    at: datetime


def event_id(ce_id: str) -> str:
    """The id of a request's events: its own Ce-Id header, or a new one."""
    return ce_id or str(uuid.uuid4())


def logged_headers(target: LogTarget, headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The request headers that `metadataHeaders` names.

    Only a name in Go's canonical form (X-Request-Id) finds its header: the agent compares with that, letter by letter.
    """
    found: dict[str, list[str]] = {}
    for name, value in headers:
        canonical = "-".join(part.capitalize() for part in name.split("-"))
        if canonical in target.headers:
            found.setdefault(canonical, []).append(value)
    return found


def rfc3339(at: datetime) -> str:
    """A time as Go's RFC3339Nano writes it: in UTC, without the zeros at the end of its fraction."""
    text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"


def event_headers(payload: Payload, recorded: datetime) -> dict[str, str]:
    """The HTTP headers of an event in binary mode, their values not percent-encoded: Go's SDK sends them so."""
    target = payload.target
    attributes = {
        "specversion": "1.0",
        "id": payload.id,
        "source": SOURCE,
        "type": payload.type,
        "time": rfc3339(payload.at),
        "inferenceservicename": target.service,
        "namespace": target.namespace,
        "component": target.component,
        "endpoint": target.endpoint,
        "recordedtime": rfc3339(recorded),
        "metadata": json.dumps(payload.metadata, separators=(",", ":")),
    }
    if target.annotations:
        attributes["annotations"] = json.dumps(dict(sorted(target.annotations.items())), separators=(",", ":"))
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    if payload.content_type:
        # An event in the body of a request would otherwise become the event that is sent.
        inner = payload.content_type.lower().startswith("application/cloudevents")
        headers["content-type"] = "application/json" if inner else payload.content_type
    return headers


class PayloadLogger:
    """A bounded queue and the workers that empty it. `locate` turns a cluster URL into (URL here, Host header)."""

    def __init__(self, session: aiohttp.ClientSession, locate: Callable[[str], tuple[str, str]]) -> None:
        self._session, self._locate = session, locate
        self._queue: asyncio.Queue[Payload] = asyncio.Queue(QUEUE)
        self._bytes = 0
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self.lost = 0

    def send(self, payload: Payload) -> None:
        """Takes an event to be sent; drops it when too many wait."""
        if not payload.target.wants(payload.type):
            return
        if self._queue.full() or (self._bytes and self._bytes + len(payload.body) > QUEUE_BYTES):
            self._lose(f"{self._queue.qsize()} payloads of {self._bytes} bytes wait already")
            return
        self._bytes += len(payload.body)
        self._queue.put_nowait(payload)

    async def close(self, patience: float = 5.0) -> None:
        """Sends what waits, for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._queue.join()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            payload = await self._queue.get()
            try:
                await self._send(payload)
            finally:
                self._bytes -= len(payload.body)
                self._queue.task_done()

    async def _send(self, payload: Payload) -> None:
        deadline, pause = time.monotonic() + RETRY_SECONDS, pauses()
        while True:
            again = True
            try:
                status = await self._post(payload)
                if status < 300:
                    return
                why, again = f"{payload.target.url} answered {status}", status in _LATER
            except (TimeoutError, OSError, aiohttp.ClientError) as error:
                why = f"{payload.target.url}: {error or type(error).__name__}"
            except ValueError as error:
                why, again = f"{payload.target.url}: {error}", False
            if not again or time.monotonic() > deadline:
                self._lose(why)
                return
            await asyncio.sleep(pause())

    async def _post(self, payload: Payload) -> int:
        url, host = self._locate(payload.target.url)
        headers = event_headers(payload, datetime.now(UTC))
        if host:
            headers["host"] = host
        async with (
            asyncio.timeout(SEND_SECONDS),
            self._session.post(url, data=payload.body, headers=headers, skip_auto_headers=("Content-Type",)) as answer,
        ):
            return answer.status

    def _lose(self, why: str) -> None:
        self.lost += 1
        log.warning("a payload event was lost: %s", why)
