"""Requests and responses of an InferenceService as CloudEvents, as KServe's agent sends them (kserve `pkg/logger`).

Binary mode, one event per request, GETs included, and one per response with status 200, both with the same id and
source; the response's event carries the request's content type. `time` is when the request or response occurred,
`recordedtime` when a worker sends the event. Responses are not delayed: a slow or absent sink loses events, never
requests. The agent sends an event once; here one that the sink does not accept is retried up to RETRY_SECONDS, and its
id lets the receiver detect duplicates. A body is copied as it was sent, still compressed if it was, and no header says
so, because the agent only reads Content-Type. A request that the client aborted is not an event here: it says nothing
about the version.
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

from local.storage import backoff_delays

log = logging.getLogger("gateway")

SOURCE = "http://localhost:9081/"
WORKERS = 5
MAX_QUEUED = 1000
MAX_QUEUED_BYTES = 64 * 2**20
SEND_TIMEOUT = 10.0
RETRY_SECONDS = 300.0
_RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 507})


@dataclass(frozen=True, slots=True)
class LoggerSpec:
    """Where a revision's events go, and what they state about it: KServe's LoggerSpec and the revision's labels."""

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
class PayloadEvent:
    """One event to send."""

    spec: LoggerSpec
    type: str
    id: str
    content_type: str
    metadata: Mapping[str, list[str]]
    body: bytes
    at: datetime


def event_id(ce_id: str) -> str:
    """The id of a request's events: its Ce-Id header, or a new one."""
    return ce_id or str(uuid.uuid4())


def logged_headers(spec: LoggerSpec, headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The request headers that `metadataHeaders` names.

    Only a name in Go's canonical form (X-Request-Id) matches, because the agent compares exactly with that form.
    """
    matching: dict[str, list[str]] = {}
    for name, value in headers:
        canonical = "-".join(part.capitalize() for part in name.split("-"))
        if canonical in spec.headers:
            matching.setdefault(canonical, []).append(value)
    return matching


def rfc3339_nano(at: datetime) -> str:
    """A time as Go's RFC3339Nano writes it: in UTC, without trailing zeros in its fraction."""
    text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"


def event_headers(payload: PayloadEvent, recorded: datetime) -> dict[str, str]:
    """The HTTP headers of an event in binary mode. The values are not percent-encoded, as Go's SDK sends them."""
    spec = payload.spec
    attributes = {
        "specversion": "1.0",
        "id": payload.id,
        "source": SOURCE,
        "type": payload.type,
        "time": rfc3339_nano(payload.at),
        "inferenceservicename": spec.service,
        "namespace": spec.namespace,
        "component": spec.component,
        "endpoint": spec.endpoint,
        "recordedtime": rfc3339_nano(recorded),
        "metadata": json.dumps(payload.metadata, separators=(",", ":")),
    }
    if spec.annotations:
        attributes["annotations"] = json.dumps(dict(sorted(spec.annotations.items())), separators=(",", ":"))
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    if payload.content_type:
        # Otherwise an event in the body of a request would be taken for the event itself.
        inner = payload.content_type.lower().startswith("application/cloudevents")
        headers["content-type"] = "application/json" if inner else payload.content_type
    return headers


class PayloadLogger:
    """A bounded queue and the workers that empty it. `locate` turns a cluster URL into (local URL, Host header)."""

    def __init__(self, session: aiohttp.ClientSession, locate: Callable[[str], tuple[str, str]]) -> None:
        self._session, self._locate = session, locate
        self._queue: asyncio.Queue[PayloadEvent] = asyncio.Queue(MAX_QUEUED)
        self._bytes = 0
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self.dropped = 0

    def send(self, payload: PayloadEvent) -> None:
        """Queues an event; drops it if too many are waiting."""
        if not payload.spec.wants(payload.type):
            return
        if self._queue.full() or (self._bytes and self._bytes + len(payload.body) > MAX_QUEUED_BYTES):
            self._drop(f"{self._queue.qsize()} payloads of {self._bytes} bytes are already waiting")
            return
        self._bytes += len(payload.body)
        self._queue.put_nowait(payload)

    async def close(self, grace: float = 5.0) -> None:
        """Sends what is waiting, for at most `grace` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
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

    async def _send(self, payload: PayloadEvent) -> None:
        deadline, pause = time.monotonic() + RETRY_SECONDS, backoff_delays()
        while True:
            retry = True
            try:
                status = await self._post(payload)
                if status < 300:
                    return
                reason, retry = f"{payload.spec.url} answered {status}", status in _RETRIED_STATUSES
            except (TimeoutError, OSError, aiohttp.ClientError) as error:
                reason = f"{payload.spec.url}: {error or type(error).__name__}"
            except ValueError as error:
                reason, retry = f"{payload.spec.url}: {error}", False
            if not retry or time.monotonic() > deadline:
                self._drop(reason)
                return
            await asyncio.sleep(pause())

    async def _post(self, payload: PayloadEvent) -> int:
        url, host = self._locate(payload.spec.url)
        headers = event_headers(payload, datetime.now(UTC))
        if host:
            headers["host"] = host
        async with (
            asyncio.timeout(SEND_TIMEOUT),
            self._session.post(
                url, data=payload.body, headers=headers, skip_auto_headers=("Content-Type",)
            ) as response,
        ):
            return response.status

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        log.warning("a payload event was dropped: %s", reason)
