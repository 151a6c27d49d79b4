"""The gateway is a process of its own: killed, it comes back; without its controller it goes on; it stays small."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from serving_cases import KNATIVE, ROOT, Platform, StoreView, knative_service, settings
from test_serving_live import SUPERVISOR

from local.kube.store import ResourceStore
from local.serving.controller import ServingController
from local.serving.settings import GATEWAY, gateway_ports
from local.serving.workload import find_left_behind

pytestmark = pytest.mark.usefixtures("processes")

KEY = ("default", "k-00001")


async def asked(platform: Platform, name: str = "k") -> tuple[int, Any]:
    """The answer, once somebody listens."""
    while True:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            return await platform.get(name)
        await asyncio.sleep(0.02)


async def test_a_killed_gateway_is_started_again_and_goes_on_with_the_replicas(platform: Platform) -> None:
    platform.store.create(knative_service("k", {"min-scale": "1"}))
    await platform.up(KNATIVE, "k")
    replica, gateway = platform.serving.pids(*KEY), platform.serving.gateway.pid
    assert (await platform.get("k"))[1]["pid"] == replica[0]
    slow = asyncio.create_task(platform.get("k", "/slow=30"))
    client = platform.serving._gateway_client
    await platform.until(lambda: client._report and client._report.in_flight)
    os.kill(gateway, signal.SIGKILL)
    with contextlib.suppress(aiohttp.ClientError):
        await slow
    await platform.until(lambda: platform.serving.gateway.pid not in (0, gateway))
    status, reply = await asked(platform)
    assert (status, reply["pid"]) == (200, replica[0])
    # It scales, too: the new gateway is heard.
    platform.store.create(knative_service("z", {"window": "1s"}))
    await platform.up(KNATIVE, "z")
    await platform.until(lambda: not platform.serving.pids("default", "z-00001"))
    assert (await platform.get("z"))[0] == 200
    os.kill(replica[0], signal.SIGKILL)  # it is at work on what nobody waits for


async def test_the_gateway_goes_on_without_its_controller_and_is_taken_over(tmp_path: Path) -> None:
    store = ResourceStore(tmp_path / "kube.sqlite")
    store.create(knative_service("k", {"min-scale": "1"}))
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), here]
    supervisor = subprocess.Popen(command, cwd=ROOT)
    try:
        await StoreView(store).up(KNATIVE, "k")
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait(10)
    (gateway,) = find_left_behind(tmp_path / GATEWAY)
    ports = gateway_ports(tmp_path)
    assert ports is not None
    port = ports[0]
    async with aiohttp.ClientSession() as session:
        headers = {"host": "k.default.localhost"}
        async with session.get(f"http://127.0.0.1:{port}/", headers=headers) as answer:
            pid = (await answer.json())["pid"]
        async with ServingController(store, settings(tmp_path), Path) as serving:
            platform = Platform(store, serving, session, tmp_path)
            assert serving.port == port
            await platform.until(lambda: serving.status().get(KEY) and serving.status()[KEY].actual == 1)
            assert (await platform.get("k"))[1]["pid"] == pid
            assert serving.gateway.pid == gateway.pid
    assert not gateway.alive()
    assert list((tmp_path / GATEWAY / "pods").glob("*")) == []
    store.close()


async def test_no_client_makes_the_gateway_hold_much(platform: Platform) -> None:
    """And none of it is the controller's."""
    platform.store.create(knative_service("k", {"min-scale": "1"}))
    await platform.up(KNATIVE, "k")
    process = psutil.Process(platform.serving.gateway.pid)
    before, most = process.memory_info().rss, 0
    assert process.pid != os.getpid()
    piece = b"x" * 2**20
    for head in (b"Content-Length: 681574400", b"Transfer-Encoding: chunked"):
        reader, writer = await asyncio.open_connection("127.0.0.1", platform.serving.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: k.default.localhost\r\n" + head + b"\r\n\r\n")
        chunk = piece if b"Length" in head else b"%x\r\n%s\r\n" % (len(piece), piece)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(chunk)
                await writer.drain()
                most = max(most, process.memory_info().rss)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
        writer.close()
    assert most - before < 40 * 2**20
    assert (await platform.get("k"))[0] == 200


async def test_the_control_socket_is_its_owners(platform: Platform) -> None:
    await platform.until(lambda: platform.serving._gateway_client._report)
    path = platform.folder / GATEWAY / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0


async def test_cluster_local_services_are_for_the_inner_listener(platform: Platform) -> None:
    labels = {"networking.knative.dev/visibility": "cluster-local"}
    service = knative_service("f", {"min-scale": "1"})
    service["metadata"]["labels"] = labels
    platform.store.create(service)
    await platform.up(KNATIVE, "f")
    assert platform.store.get(KNATIVE, "f")["status"]["url"] == "http://f.default.svc.cluster.local"
    assert (await platform.get("f"))[0] == 404
    url, host = platform.serving.locate("http://f.default.svc.cluster.local/x")
    async with platform.session.get(url, headers={"host": host}) as answer:
        assert (answer.status, (await answer.json())["path"]) == (200, "/x")
    platform.store.patch(KNATIVE, "f", {"metadata": {"labels": {"networking.knative.dev/visibility": None}}})
    await platform.up(KNATIVE, "f")
    await platform.until(lambda: "svc" not in platform.store.get(KNATIVE, "f")["status"]["url"])
    assert (await platform.get("f"))[0] == 200


async def test_a_folder_of_any_depth_will_do(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    store = ResourceStore(deep / "kube.sqlite")
    store.create(knative_service("k", {"min-scale": "1"}))
    async with ServingController(store, settings(deep), Path) as serving, aiohttp.ClientSession() as session:
        platform = Platform(store, serving, session, deep)
        await platform.up(KNATIVE, "k")
        assert (await asked(platform))[0] == 200
    store.close()
