"""A disk that does not take what is written, and then does again: what was acknowledged arrives, nothing else was."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from broker_process import Process, apply, process, settled
from disks import Disk, disk, limited, locked, open_files
from polling import until

pytestmark = pytest.mark.usefixtures("processes")

HEADERS = {"ce-specversion": "1.0", "ce-source": "/disk", "ce-type": "t"}
KINDS = ("full", "locked", "quota")


@pytest.fixture
def place(tmp_path: Path, processes: None) -> Iterator[Disk]:
    with disk(tmp_path / "disk", "16m") as made:
        yield made


@contextlib.contextmanager
def trouble(kind: str, broker: Process, place: Disk) -> Iterator[None]:
    assert broker.process is not None
    database = broker.folder / "broker.db"
    match kind:
        case "full":
            with place.full():
                yield
        case "locked":
            with locked(database):
                yield
        case "quota":
            with limited(broker.process.pid, resource.RLIMIT_FSIZE, 1024):
                yield


@contextlib.asynccontextmanager
async def running(place: Disk, subscribe: Any) -> AsyncIterator[tuple[Process, httpx2.AsyncClient, Any]]:
    subscriber = await subscribe()
    async with process(place.path) as (broker, client):
        await apply(broker, client, "Broker", "default", {})
        await apply(broker, client, "Trigger", "all", {"broker": "default", "subscriber": {"uri": subscriber.url}})
        yield broker, client, subscriber


async def send(broker: Process, client: httpx2.AsyncClient, id: str, size: int = 2000) -> httpx2.Response:
    url = f"{broker.url}/default/default"
    return await client.post(url, content=bytes(size), headers={**HEADERS, "ce-id": id})


@pytest.mark.parametrize("kind", KINDS)
async def test_refused_while_it_lasts_taken_again_afterwards(kind: str, place: Disk, subscribe: Any) -> None:
    async with running(place, subscribe) as (broker, client, subscriber):
        assert (await send(broker, client, "before")).status_code == 202
        await settled(broker, client)
        acknowledged = ["before"]
        with trouble(kind, broker, place):
            async with asyncio.timeout(60):
                for number in range(10_000):  # a little room may be left in a page that is there already
                    answer = await send(broker, client, f"during-{number}")
                    if answer.status_code == 503:
                        break
                    acknowledged.append(f"during-{number}")
            assert int(answer.headers["retry-after"]) >= 1
            assert "cannot be written" in answer.json()["error"]
            assert (await client.get(f"{broker.url}/readyz")).status_code == 503
            (storage,) = (await client.get(f"{broker.url}/-/figures")).json()["storage"]
            assert (storage["part"], storage["path"]) == ("broker", str(broker.folder / "broker.db"))
            assert storage["code"] == kind
            await asyncio.sleep(2.0)
            assert (await send(broker, client, "late")).status_code == 503
        await ready(broker, client)
        assert (await send(broker, client, "after")).status_code == 202
        await settled(broker, client)
        assert sorted(subscriber.ids) == sorted([*acknowledged, "after"])


async def test_results_that_could_not_be_noted_are_noted_later(place: Disk, subscribe: Any) -> None:
    """The subscriber has the event while the disk is full: it is not sent again when there is room."""
    async with running(place, subscribe) as (broker, client, subscriber):
        arrived, go = asyncio.Event(), asyncio.Event()

        async def slow(*_: Any) -> tuple[int, dict[str, str], bytes]:
            arrived.set()
            await go.wait()
            return 202, {}, b""

        subscriber.respond = slow
        assert (await send(broker, client, "one")).status_code == 202
        await arrived.wait()
        with place.full():
            while (await send(broker, client, "x")).status_code != 503:
                pass
            known = list(subscriber.ids)
            go.set()
            await asyncio.sleep(1.0)
        await ready(broker, client)
        figures = await settled(broker, client)
        assert figures["default/all"]["delivered"] == len(set(subscriber.ids)) == len(subscriber.ids) == len(known)


async def test_killed_while_full(place: Disk, subscribe: Any) -> None:
    async with running(place, subscribe) as (broker, client, subscriber):
        acknowledged = []
        for number in range(20):
            if (await send(broker, client, f"{number}")).status_code == 202:
                acknowledged.append(f"{number}")
        with place.full():
            while (await send(broker, client, "x")).status_code != 503:
                pass
            broker.kill()
        await broker.start(client)
        await settled(broker, client)
        assert set(acknowledged) <= set(subscriber.ids)


async def test_no_more_files_may_be_open_for_a_while(tmp_path: Path, subscribe: Any) -> None:
    subscriber = await subscribe()
    async with process(tmp_path) as (broker, client):
        await apply(broker, client, "Broker", "default", {})
        spec = {"broker": "default", "subscriber": {"uri": subscriber.url}}
        await apply(broker, client, "Trigger", "all", {**spec, "delivery": {"retry": 10, "backoffDelay": "PT0.2S"}})
        assert broker.process is not None
        acknowledged = []
        with limited(broker.process.pid, resource.RLIMIT_NOFILE, open_files(broker.process.pid)):
            for number in range(20):
                with contextlib.suppress(httpx2.TransportError):
                    async with httpx2.AsyncClient(timeout=1.0) as other:
                        if (await send(broker, other, f"{number}")).status_code == 202:
                            acknowledged.append(f"{number}")
        async with httpx2.AsyncClient(timeout=30.0, headers=client.headers) as other:
            assert (await send(broker, other, "after")).status_code == 202
            await settled(broker, other)
        assert {*acknowledged, "after"} <= set(subscriber.ids)


@pytest.mark.parametrize("whole_folder", [True, False])
async def test_its_folder_is_removed_while_it_runs(whole_folder: bool, tmp_path: Path, subscribe: Any) -> None:
    subscriber = await subscribe(lambda request, n: (503 if n < 1 else 202, {}, b""))
    inside = tmp_path / "inside"
    inside.mkdir()
    async with process(inside) as (broker, client):
        await apply(broker, client, "Broker", "default", {})
        spec = {"broker": "default", "subscriber": {"uri": subscriber.url}}
        await apply(broker, client, "Trigger", "all", {**spec, "delivery": {"retry": 3, "backoffDelay": "PT1S"}})
        assert (await send(broker, client, "before")).status_code == 202
        if whole_folder:
            shutil.rmtree(inside)
        else:
            (inside / "broker.db").unlink()

        async def accepted() -> bool:
            return (await send(broker, client, "after")).status_code == 202

        await until(accepted, interval=0.1)
        broker.kill()
        await broker.start(client)
        await settled(broker, client)
        assert {"before", "after"} <= set(subscriber.ids)


async def test_the_clock_was_set_back_while_it_was_down(tmp_path: Path, subscribe: Any) -> None:
    subscriber = await subscribe(lambda request, n: (503 if n < 1 else 202, {}, b""))
    async with process(tmp_path) as (broker, client):
        await apply(broker, client, "Broker", "default", {})
        spec = {"broker": "default", "subscriber": {"uri": subscriber.url}}
        delivery = {"retry": 3, "backoffDelay": "PT2S", "backoffPolicy": "exponential"}
        await apply(broker, client, "Trigger", "all", {**spec, "delivery": delivery})
        assert (await send(broker, client, "one")).status_code == 202
        await until(lambda: subscriber.ids)
        await asyncio.sleep(0.2)
        broker.kill()
        with contextlib.closing(sqlite3.connect(tmp_path / "broker.db")) as db:
            assert db.execute("UPDATE deliveries SET due = due + 3600 WHERE state = 0").rowcount == 1
            db.commit()
        await broker.start(client)
        await settled(broker, client)
        assert subscriber.ids == ["one", "one"]


async def ready(broker: Process, client: httpx2.AsyncClient) -> None:
    async def is_ready() -> bool:
        return (await client.get(f"{broker.url}/readyz")).status_code == 200

    await until(is_ready)
