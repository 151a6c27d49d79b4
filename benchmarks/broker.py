"""Events per second through the durable broker: sent, on disk, delivered, with five Triggers and two subscribers.

Each round sends events from many senders at once and ends when the subscriber processes have counted every delivery.
Two scenarios: every Trigger wants every event (five deliveries per event), and every Trigger wants one type of five.
Senders, broker and both subscribers share this machine's cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.results import Row, median, report
from local.ports import free_ports
from local.tokens import read_token

EVENTS, ROUNDS, SENDERS, TRIGGERS = 2000, 5, 64, 5
BODY = json.dumps({"instances": [{"question": "x" * 300, "choices": ["a", "b", "c", "d"]}]}).encode()
LIMIT = 120.0


def main() -> None:
    if sys.argv[1:2] == ["--subscriber"]:
        subscriber(int(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-broker-") as folder:
        asyncio.run(measure(Path(folder)))


async def measure(folder: Path) -> None:
    broker, *subscribers = free_ports(3)
    rows = []
    with contextlib.ExitStack() as stack:
        for port in subscribers:
            stack.enter_context(running("benchmarks.broker", "--subscriber", str(port)))
        process = stack.enter_context(
            running("local.broker", "--database", str(folder / "broker.db"), "--port", str(broker))
        )
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            for port in (broker, *subscribers):
                await ready(http, port)
            token = read_token(folder / "token")
            await apply(http, broker, token, "Broker", "default", {})
            for scenario, copies in (("every Trigger wants every event", TRIGGERS), ("each Trigger wants its type", 1)):
                for n in range(TRIGGERS):
                    spec: dict[str, Any] = {
                        "broker": "default",
                        "subscriber": {"uri": f"http://127.0.0.1:{subscribers[n % 2]}/"},
                    }
                    if copies == 1:
                        spec["filter"] = {"attributes": {"type": f"type.{n}"}}
                    await apply(http, broker, token, "Trigger", f"t{n}", spec)
                await one_round(http, broker, subscribers, copies, EVENTS // 5)  # warm connections and caches
                rates, waits, cpu = [], [], cpu_seconds(process)
                for _ in range(ROUNDS):
                    seconds, acknowledged = await one_round(http, broker, subscribers, copies, EVENTS)
                    rates.append(EVENTS / seconds)
                    waits += acknowledged
                    print(f"  {scenario}: {rates[-1]:.0f} events/s", flush=True)
                waits.sort()
                cpu = cpu_seconds(process) - cpu
                target = 500.0 if copies == TRIGGERS else None
                rows += [
                    Row(f"{scenario}, median of {ROUNDS} rounds", median(rates), "events/s", at_least=target),
                    Row(f"{scenario}, slowest round", min(rates), "events/s"),
                    Row(f"{scenario}, deliveries", median(rates) * copies, "requests/s"),
                    Row(f"{scenario}, the broker's processor time", cpu / EVENTS / ROUNDS * 1e3, "ms/event"),
                    Row(f"{scenario}, acknowledged, median", median(waits) * 1e3, "ms"),
                    Row(f"{scenario}, acknowledged, 99%", waits[len(waits) * 99 // 100] * 1e3, "ms"),
                ]
    report("broker: five Triggers, two subscribers", rows)


async def one_round(
    http: aiohttp.ClientSession, broker: int, subscribers: list[int], copies: int, events: int
) -> tuple[float, list[float]]:
    """Seconds until the last delivery, and each event's seconds until its acknowledgement."""
    before = await received(http, subscribers)
    waits: list[float] = []
    numbers = iter(range(events))

    async def send() -> None:
        for n in numbers:
            headers = {
                "ce-specversion": "1.0",
                "ce-id": str(n),
                "ce-source": "/benchmark",
                "ce-type": f"type.{n % TRIGGERS}",
                "content-type": "application/json",
            }
            start = time.perf_counter()
            url = f"http://127.0.0.1:{broker}/default/default"
            async with http.post(url, data=BODY, headers=headers) as response:
                assert response.status == 202, await response.text()
            waits.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(SENDERS)))
    async with asyncio.timeout(LIMIT):
        while True:
            if await received(http, subscribers) - before >= events * copies:
                break
            await asyncio.sleep(0.02)
    return time.perf_counter() - start, waits


async def received(http: aiohttp.ClientSession, subscribers: list[int]) -> int:
    total = 0
    for port in subscribers:
        async with http.get(f"http://127.0.0.1:{port}/") as response:
            total += int(await response.text())
    return total


async def apply(
    http: aiohttp.ClientSession, broker: int, token: str, kind: str, name: str, spec: dict[str, Any]
) -> None:
    item, headers = {"kind": kind, "metadata": {"name": name}, "spec": spec}, {"Authorization": f"Bearer {token}"}
    async with http.put(f"http://127.0.0.1:{broker}/-/objects", json=item, headers=headers) as response:
        assert response.status == 204, await response.text()


async def ready(http: aiohttp.ClientSession, port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"http://127.0.0.1:{port}/healthz"):
                    return
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m ...` until the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", *arguments])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time of a process so far: unlike the rate, it does not depend on what else the machine does."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def subscriber(port: int) -> None:
    """Counts POSTs; GET returns the count."""
    import uvicorn

    count = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        body = b""
        if scope["method"] == "POST":
            count += 1
        else:
            body = str(count).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 202 if not body else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(app, port=port, lifespan="off", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
