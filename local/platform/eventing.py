"""Knative Eventing's controllers here: Brokers and Triggers into the broker process, their statuses into the API.

What the statuses say, and how, is in `eventing_status`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp

from local.broker.resources import resolve_addresses
from local.kube.resources import Object
from local.kube.store import ResourceStore, StatusError
from local.platform.eventing_status import ResolvedReferences, broker_address, broker_status, trigger_status
from local.serving.conditions import merge_conditions
from local.serving.hosts import internal_url
from local.storage import StorageError

log = logging.getLogger("eventing")

RESYNC_SECONDS = 10.0
_POLL_SECONDS = 0.25


class UnresolvedReferenceError(Exception):
    """A reference to nothing; the message names it."""


def resolve_address(store: ResourceStore, reference: Mapping[str, Any]) -> str:
    """The cluster URL of a Knative Service or a Broker; UnresolvedReferenceError when there is none."""
    kind, name = str(reference.get("kind")), str(reference.get("name"))
    group = str(reference.get("apiVersion", "")).rpartition("/")[0]
    namespace = str(reference.get("namespace") or "default")
    known = {("Service", "serving.knative.dev"), ("Broker", "eventing.knative.dev")}
    if (kind, group) not in known:
        raise UnresolvedReferenceError(f"{kind} {name}: only Knative Services and Brokers have addresses here")
    if store.find(f"{kind}.{group}", name, namespace) is None:
        raise UnresolvedReferenceError(f"{kind} {namespace}/{name} is not there")
    return broker_address(namespace, name) if kind == "Broker" else internal_url(namespace, name)


class EventingController:
    """Keeps the broker at `url`, whose token is `token`, in line with the API's objects."""

    def __init__(self, store: ResourceStore, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._store, self._session, self._url = store, session, url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._sent: dict[tuple[str, str, str], str] = {}
        self._refused: dict[tuple[str, str, str], str] = {}

    def resend_all(self) -> None:
        """The broker process is a new one: everything is sent to it again."""
        self._sent.clear()

    async def run(self) -> None:
        """Until it is cancelled; a failed pass is retried."""
        seen, passed = -1, 0.0
        while True:
            try:
                version = await asyncio.to_thread(lambda: self._store.version)
                if version != seen or time.monotonic() - passed > RESYNC_SECONDS:
                    if time.monotonic() - passed > RESYNC_SECONDS:
                        self.resend_all()
                    await self.reconcile()
                    seen, passed = version, time.monotonic()
            except (StatusError, StorageError) as error:
                log.info("the broker is updated later: %s", error)
                self.resend_all()
                await asyncio.sleep(0.5)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.info("the broker is updated later: %s", error or type(error).__name__)
                self.resend_all()
                await asyncio.to_thread(self._report_down)
                await asyncio.sleep(0.5)
            await asyncio.sleep(_POLL_SECONDS)

    async def reconcile(self) -> None:
        """One pass: Brokers before the Triggers that need them, deletions last."""
        present = await self._broker_objects()
        keys: set[tuple[str, str, str]] = set()
        for kind in ("Broker", "Trigger"):
            for item in (await asyncio.to_thread(self._store.list, kind)).items:
                key = (kind, item["metadata"]["namespace"], item["metadata"]["name"])
                keys.add(key)
                await self._apply(key, item)
        for kind, namespace, name in present:
            if (kind, namespace, name) not in keys:
                await self._send("DELETE", f"/-/{kind.lower()}s/{namespace}/{name}")
                self._sent.pop((kind, namespace, name), None)

    async def _apply(self, key: tuple[str, str, str], item: Object) -> None:
        references = await asyncio.to_thread(self._resolve, item)
        if not references.problems:
            manifest = {"apiVersion": item["apiVersion"], "kind": item["kind"], "spec": item.get("spec") or {}}
            manifest["metadata"] = {"namespace": key[1], "name": key[2]}
            body = json.dumps({**manifest, "status": references.addresses}, sort_keys=True)
            digest = hashlib.sha256(body.encode()).hexdigest()
            if self._sent.get(key) != digest:
                status, message = await self._send("PUT", "/-/objects", body)
                self._refused[key] = message if status == 422 else ""
                if status < 300 or status == 422:
                    self._sent[key] = digest
        refused = self._refused.get(key, "") if not references.problems else ""
        await asyncio.to_thread(self._report, item, references, refused)

    def _resolve(self, item: Object) -> ResolvedReferences:
        """The addresses of its references; `problems` says, under the same name, why a reference has none."""
        addresses: dict[str, str] = {}
        problems: dict[str, str] = {}
        spec = item.get("spec") or {}
        for field, name in (("subscriber", "subscriberUri"), ("delivery", "deadLetterSinkUri")):
            partial = {"metadata": item["metadata"], "spec": {field: spec.get(field)}}
            try:
                resolved = resolve_addresses(partial, lambda reference: resolve_address(self._store, reference))
            except UnresolvedReferenceError as error:
                problems[name] = str(error)
            else:
                addresses |= resolved["status"]
        return ResolvedReferences(addresses, problems)

    def _report(self, item: Object, references: ResolvedReferences, refused: str, *, answers: bool = True) -> None:
        if item["kind"] == "Broker":
            write_status(self._store, item, broker_status(item, references, refused, answers=answers))
            return
        namespace, spec = item["metadata"]["namespace"], item.get("spec") or {}
        name = str(spec.get("broker") or (spec.get("brokerRef") or {}).get("name"))
        broker = self._store.find("Broker", name, namespace)
        write_status(self._store, item, trigger_status(item, broker, references, refused))

    def _report_down(self) -> None:
        """Reports in the status of Brokers and Triggers that the broker process does not answer."""
        try:
            for kind in ("Broker", "Trigger"):
                for item in self._store.list(kind).items:
                    self._report(item, self._resolve(item), "", answers=False)
        except (StatusError, StorageError) as error:
            log.info("the statuses are written later: %s", error)

    async def _broker_objects(self) -> list[tuple[str, str, str]]:
        options: dict[str, Any] = {"headers": self._headers, "timeout": aiohttp.ClientTimeout(5)}
        async with self._session.get(f"{self._url}/-/objects", **options) as response:
            if response.status != 200:
                raise OSError(f"the broker answered {response.status}: {(await response.text())[:200]}")
            items = (await response.json())["items"]
        return [(i["kind"], i["metadata"].get("namespace", "default"), i["metadata"]["name"]) for i in items]

    async def _send(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        options: dict[str, Any] = {"headers": self._headers, "timeout": aiohttp.ClientTimeout(5)}
        async with self._session.request(method, self._url + path, data=body, **options) as response:
            text = await response.text()
            if response.status >= 500 or response.status in (401, 403):
                raise OSError(f"the broker answered {response.status}: {text[:200]}")
            return response.status, text[:300]


def write_status(store: ResourceStore, item: Object, status: dict[str, Any]) -> None:
    """Writes a status where it differs from the object's; its `conditions` are Condition objects, still without times.

    An object that changed meanwhile keeps its status: the next pass sees the change.
    """
    old = item.get("status") or {}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {**status, "conditions": merge_conditions(old.get("conditions") or (), status["conditions"], now)}
    if status != old:
        try:
            store.update_status({**item, "status": status})
        except StatusError as error:
            if error.code not in (404, 409):
                raise
