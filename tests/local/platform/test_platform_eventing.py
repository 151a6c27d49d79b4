"""Eventing's controllers and PingSources, with a real store and a real broker process."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from local.kube.store import ResourceStore
from local.platform.eventing import EventingController, UnresolvedReferenceError, resolve_address
from local.platform.pingsource import PingSourceAdapter, build_event
from local.ports import free_ports
from local.tokens import read_token

ROOT = Path(__file__).resolve().parents[3]
BROKER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Broker",
    "metadata": {"name": "default", "namespace": "default"},
    "spec": {"delivery": {"retry": 1, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}},
}
SERVICE = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {"name": "f", "namespace": "default"},
    "spec": {"template": {"spec": {"containers": [{"image": "dev.local/f:1"}]}}},
}


def trigger(name: str = "t", service: str = "f", broker: str = "default", **filters: Any) -> Any:
    reference = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": service}
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"broker": broker, "subscriber": {"ref": reference}, **filters},
    }


def ping(**spec: Any) -> Any:
    reference = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "PingSource",
        "metadata": {"name": "tick", "namespace": "default"},
        "spec": {"schedule": "@every 1s", "sink": {"ref": reference}, **spec},
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    store = ResourceStore(tmp_path / "kube.sqlite")
    yield store
    store.close()


@pytest.fixture
async def session() -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def received(processes: None) -> AsyncIterator[Any]:
    """A subscriber: the headers and bodies of what it got, and its port."""
    got = []

    async def take(request: Any) -> Any:
        got.append((dict(request.headers), await request.read()))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield got, runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def broker(tmp_path: Path, session: Any, received: Any, processes: None) -> AsyncIterator[Any]:
    """A broker process that reaches every cluster service at the subscriber."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "local.broker", "--database", str(tmp_path / "b.db"), "--port", str(port)]
    command += ["--connect-to", f"svc.cluster.local=127.0.0.1:{received[1]}"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while True:
        try:
            async with session.get(f"{url}/readyz") as answer:
                if answer.status == 200:
                    break
        except aiohttp.ClientError:
            pass
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    yield url
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 20) == 0


@pytest.fixture
def token(broker: Any, tmp_path: Path) -> Any:
    return read_token(tmp_path / "token")


async def until(true: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if true():
                return
            await asyncio.sleep(0.05)


def ready(item: Any) -> Any:
    return {c["type"]: (c["status"], c.get("message", "")) for c in item["status"]["conditions"]}


async def test_triggers_reach_the_broker_and_say_so(
    store: ResourceStore, session: Any, broker: Any, token: Any, received: Any
) -> None:
    for item in (BROKER, SERVICE, trigger()):
        store.create(item)
    eventing = EventingController(store, session, broker, token)
    await eventing.reconcile()
    stored = store.get("Trigger", "t")
    assert ready(stored)["Ready"] == ("True", "")
    assert stored["status"]["subscriberUri"] == "http://f.default.svc.cluster.local"
    address = store.get("Broker", "default")["status"]["address"]["url"]
    assert address == "http://broker-ingress.knative-eventing.svc.cluster.local/default/default"
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    async with session.post(f"{broker}/default/default", headers=headers, data=b"{}") as answer:
        assert answer.status == 202
    await until(lambda: received[0])
    assert received[0][0][0]["Host"] == "f.default.svc.cluster.local"
    version = store.version
    await eventing.reconcile()
    assert store.version == version, "a pass that changes nothing writes nothing"


@pytest.mark.usefixtures("processes")
async def test_what_is_deleted_leaves_the_broker(store: ResourceStore, session: Any, broker: Any, token: Any) -> None:
    for item in (BROKER, SERVICE, trigger("a"), trigger("b")):
        store.create(item)
    eventing = EventingController(store, session, broker, token)
    await eventing.reconcile()
    store.delete("Trigger", "a")
    await eventing.reconcile()
    async with session.get(f"{broker}/-/objects", headers={"Authorization": f"Bearer {token}"}) as answer:
        names = {item["metadata"]["name"] for item in (await answer.json())["items"]}
    assert names == {"default", "b"}


async def test_a_trigger_that_leads_nowhere_says_why(
    store: ResourceStore, session: Any, broker: Any, token: Any
) -> None:
    store.create(BROKER)
    store.create(trigger("lost"))
    store.create(SERVICE)
    store.create(trigger("orphan", broker="other"))
    store.delete("Service.serving.knative.dev", "f")
    await EventingController(store, session, broker, token).reconcile()
    lost = ready(store.get("Trigger", "lost"))
    assert lost["Ready"] == lost["SubscriberResolved"] == ("False", "Service default/f is not there")
    assert ready(store.get("Trigger", "orphan"))["BrokerReady"] == ("False", 'Broker "other" does not exist')


@pytest.mark.usefixtures("processes")
async def test_a_broker_process_that_is_gone_is_a_status(
    store: ResourceStore, session: Any, broker: Any, token: Any
) -> None:
    for item in (BROKER, SERVICE, trigger()):
        store.create(item)
    eventing = EventingController(store, session, broker, token)
    await eventing.reconcile()
    assert ready(store.get("Trigger", "t"))["BrokerReady"] == ("True", "")
    (free,) = free_ports(1)
    gone = asyncio.create_task(EventingController(store, session, f"http://127.0.0.1:{free}", token).run())
    await until(lambda: ready(store.get("Trigger", "t"))["BrokerReady"][0] == "False")
    gone.cancel()
    conditions = ready(store.get("Broker", "default"))
    down = ("False", "The broker process does not answer.")
    assert [conditions[name] for name in ("Ready", "IngressReady", "FilterReady")] == [down] * 3
    assert ready(store.get("Trigger", "t"))["SubscriberResolved"] == ("True", ""), "it was resolved, and is still"
    await eventing.reconcile()
    assert ready(store.get("Broker", "default"))["Ready"] == ready(store.get("Trigger", "t"))["Ready"] == ("True", "")


def test_only_services_and_brokers_have_addresses(store: ResourceStore) -> None:
    with pytest.raises(UnresolvedReferenceError, match="ConfigMap x: only Knative Services and Brokers"):
        resolve_address(store, {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"})


@pytest.mark.usefixtures("processes")
async def test_ticks_arrive_on_schedule(store: ResourceStore, session: Any, received: Any) -> None:
    store.create(BROKER)
    store.create(ping(data='{"a": 1}', ceOverrides={"extensions": {"team": "red"}}))
    sources = PingSourceAdapter(store, session, lambda url: (f"http://127.0.0.1:{received[1]}/", "somewhere"))
    task = asyncio.create_task(sources.run())
    await until(lambda: len(received[0]) >= 2)
    task.cancel()
    (first, body), (second, _) = received[0][:2]
    assert first["ce-type"] == "dev.knative.sources.ping"
    assert first["ce-source"] == "/apis/v1/namespaces/default/pingsources/tick"
    assert (first["Host"], first["ce-team"], body) == ("somewhere", "red", b'{"a": 1}')
    assert first["ce-id"] != second["ce-id"]
    item = store.get("PingSource", "tick")
    assert ready(item)["Ready"] == ("True", "")
    assert item["status"]["sinkUri"].endswith("/default/default")


def test_a_tick_carries_its_time_and_an_id_of_its_own() -> None:
    """After the clock was set back the same time comes again: another tick, not a copy of the first."""
    item = ping()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    first, second = build_event(item, at)[0], build_event(item, at)[0]
    assert first["ce-time"] == second["ce-time"] == "2026-01-01T00:00:00Z"
    assert first["ce-id"] != second["ce-id"]


@pytest.mark.usefixtures("processes")
async def test_ticks_go_on_when_the_clock_is_set_back_and_without_a_schedule_of_their_own(
    store: ResourceStore, session: Any, received: Any
) -> None:
    store.create(BROKER)
    item = ping()
    del item["spec"]["schedule"]
    store.create(item)
    wall, monotonic_seconds, passes_seen = datetime(2026, 11, 1, 12, 0, 30, tzinfo=UTC), 1000.0, 0

    def monotonic() -> float:
        nonlocal passes_seen
        passes_seen += 1
        return monotonic_seconds

    async def passes(wall_seconds: float, seconds: float) -> None:
        nonlocal wall, monotonic_seconds
        wall += timedelta(seconds=wall_seconds)
        monotonic_seconds += seconds
        before = passes_seen
        await until(lambda: passes_seen >= before + 2)

    sources = PingSourceAdapter(
        store,
        session,
        lambda url: (f"http://127.0.0.1:{received[1]}/", ""),
        clock=lambda: wall,
        monotonic=monotonic,
    )
    task = asyncio.create_task(sources.run())
    await passes(0, 0)
    await passes(60, 60)
    await until(lambda: len(received[0]) == 1)
    await passes(-3600, 0)
    await passes(60, 60)
    await until(lambda: len(received[0]) == 2)
    task.cancel()
    assert [headers["ce-time"] for headers, _ in received[0]] == ["2026-11-01T12:01:00Z", "2026-11-01T11:02:00Z"]


async def test_a_sink_that_is_not_there_is_a_status(store: ResourceStore, session: Any) -> None:
    store.create(ping())
    task = asyncio.create_task(PingSourceAdapter(store, session, lambda url: (url, "")).run())
    await until(lambda: store.get("PingSource", "tick").get("status"))
    task.cancel()
    assert ready(store.get("PingSource", "tick"))["Ready"] == ("False", "Broker default/default is not there")
