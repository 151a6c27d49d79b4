"""PingSources: an event to each one's sink whenever its schedule says, as Knative's adapter sends them."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote

import aiohttp

from common.event_types import PING
from local.kube.resources import Object
from local.kube.store import ResourceStore, StatusError
from local.platform.eventing import UnresolvedReferenceError, resolve_address, write_status
from local.platform.eventing_status import ping_source_status, source_of
from local.platform.schedule_clock import EVERY_MINUTE, ScheduleClock, ZonedSchedule
from local.storage import StorageError

log = logging.getLogger("pingsource")

MAX_ATTEMPTS = 5
_POLL_SECONDS = 0.25

Locator = Callable[[str], tuple[str, str]]
"""A cluster URL as (URL on this machine, Host header or "")."""


def build_event(item: Object, at: datetime) -> tuple[dict[str, str], bytes]:
    """Headers and body of the event of one tick. Its id is new, as in Knative: after the clock was set back, a time
    that comes again is another tick and must not be taken for a duplicate of the first."""
    spec, source = item["spec"], source_of(item)
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(uuid.uuid4()),
        "ce-source": source,
        "ce-type": PING,
        "ce-time": at.isoformat().replace("+00:00", "Z"),
    }
    overrides = (spec.get("ceOverrides") or {}).get("extensions") or {}
    headers |= {f"ce-{name}": quote(str(value), safe=" !#$&'()*+,/:;=?@[]~") for name, value in overrides.items()}
    body = base64.b64decode(spec["dataBase64"]) if spec.get("dataBase64") else str(spec.get("data") or "").encode()
    if body and spec.get("contentType"):
        headers["content-type"] = spec["contentType"]
    return headers, body


class PingSourceAdapter:
    """Sends the ticks of every PingSource in the store. Ticks missed while nothing runs are not made up for."""

    def __init__(
        self,
        store: ResourceStore,
        session: aiohttp.ClientSession,
        locate: Locator,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._session, self._locate = store, session, locate
        self._clock, self._monotonic = clock, monotonic
        self._ticks = ScheduleClock()
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        seen, items = -1, []
        while True:
            try:
                version = await asyncio.to_thread(lambda: self._store.version)
                if version != seen:
                    items = [*(await asyncio.to_thread(self._store.list, "PingSource")).items]
                    for item in items:
                        await asyncio.to_thread(self._report, item)
                    seen = version
                self._send_due(items)
            except StorageError as error:
                log.debug("the PingSources are checked later: %s", error)
                await asyncio.sleep(1.0)
            except Exception:
                log.exception("a pass over the PingSources failed and is retried")
                await asyncio.sleep(1.0)
            await asyncio.sleep(_POLL_SECONDS)

    def _send_due(self, items: list[Object]) -> None:
        due = self._ticks.due({_uid(item): _schedule_of(item) for item in items}, self._clock(), self._monotonic())
        for item in items:
            if at := due.get(_uid(item)):
                task = asyncio.create_task(self._send(item, at))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def _send(self, item: Object, at: datetime) -> None:
        headers, body = build_event(item, at)
        for attempt in range(MAX_ATTEMPTS):
            try:
                url, host = self._locate(await asyncio.to_thread(_sink, self._store, item))
                sent = {**headers, **({"host": host} if host else {})}
                timeout = aiohttp.ClientTimeout(30)
                async with self._session.post(url, data=body or None, headers=sent, timeout=timeout) as response:
                    if response.status < 300:
                        return
                    problem = f"the sink answered {response.status}"
            except (aiohttp.ClientError, TimeoutError, OSError, UnresolvedReferenceError, StatusError) as error:
                problem = str(error) or type(error).__name__
            await asyncio.sleep(0.5 * 2**attempt)
        log.warning("the tick of %s at %s is lost: %s", source_of(item), at.isoformat(), problem)

    def _report(self, item: Object) -> None:
        try:
            uri, problem = _sink(self._store, item), ""
        except UnresolvedReferenceError as error:
            uri, problem = "", str(error)
        write_status(self._store, item, ping_source_status(item, uri, problem))


def _sink(store: ResourceStore, item: Object) -> str:
    sink = item["spec"].get("sink") or {}
    if reference := sink.get("ref"):
        return resolve_address(store, {"namespace": item["metadata"]["namespace"], **reference})
    return str(sink.get("uri"))


def _schedule_of(item: Object) -> ZonedSchedule:
    spec = item["spec"]
    return str(spec.get("schedule") or EVERY_MINUTE), str(spec.get("timezone") or "UTC")


def _uid(item: Object) -> str:
    return str(item["metadata"]["uid"])
