"""kill -9: whatever the broker has acknowledged reaches every subscriber that wants it, however often it dies.

The broker runs as its own process and is killed at seeded random moments while events are sent; senders retry what was
not acknowledged, subscribers refuse a share of the requests. At the end every acknowledged event must have been
delivered to each Trigger that it matches, or be a dead letter where the subscriber refuses it for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import httpx2
import pytest
from broker_process import apply, process, settled
from polling import until

HEADERS = {"ce-specversion": "1.0", "ce-source": "/kill"}
EVENTS = 150
KILLS = 3


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("seed", range(3))
async def test_no_acknowledged_event_is_lost(tmp_path: Path, subscribe: Any, seed: int) -> None:
    chance = random.Random(seed)
    flaky_chance = random.Random(seed + 1000)
    everything = await subscribe()
    flaky = await subscribe(lambda request, n: (503 if flaky_chance.random() < 0.3 else 202, {}, b""))
    replying = await subscribe(
        lambda request, n: (
            200,
            {"ce-specversion": "1.0", "ce-source": "/reply", "ce-type": "reply", "ce-id": f"reply-{request.id}"},
            b"",
        )
    )
    refusing, sink = await subscribe(lambda request, n: (400, {}, b"")), await subscribe()
    acknowledged: set[str] = set()
    patient = {"retry": 30, "backoffPolicy": "linear", "backoffDelay": "PT0.01S"}

    async with process(tmp_path) as (broker, client):
        await apply(broker, client, "Broker", "default", {"delivery": patient})
        for name, subscriber, spec in (
            ("everything", everything, {}),
            ("flaky", flaky, {"filters": [{"not": {"exact": {"type": "reply"}}}]}),
            ("replying", replying, {"filter": {"attributes": {"type": "asks"}}}),
            (
                "refusing",
                refusing,
                {
                    "filter": {"attributes": {"type": "refused"}},
                    "delivery": {**patient, "deadLetterSink": {"uri": sink.url}},
                },
            ),
        ):
            await apply(
                broker, client, "Trigger", name, {"broker": "default", "subscriber": {"uri": subscriber.url}, **spec}
            )
        kinds = {str(n): chance.choice(["plain", "asks", "refused"]) for n in range(EVENTS)}
        pending = asyncio.Queue[str]()
        for id in kinds:
            pending.put_nowait(id)

        async def send() -> None:
            while not pending.empty():
                id = pending.get_nowait()
                headers = {**HEADERS, "ce-id": id, "ce-type": kinds[id]}
                while id not in acknowledged:
                    try:
                        response = await client.post(f"{broker.url}/default/default", content=id, headers=headers)
                    except httpx2.TransportError:
                        await asyncio.sleep(0.05)
                        continue
                    assert response.status_code == 202, response.text
                    acknowledged.add(id)

        senders = [asyncio.create_task(send()) for _ in range(8)]
        for kill in range(KILLS):
            # Moments spread over the load: after so many acknowledgements, and then some milliseconds.
            target = chance.randrange(kill * EVENTS // KILLS, (kill + 1) * EVENTS // KILLS)
            await until(lambda target=target: len(acknowledged) >= target, interval=0.001)
            await asyncio.sleep(chance.random() * 0.02)
            broker.kill()
            await broker.start(client)
        await asyncio.gather(*senders)
        await settled(broker, client)
        broker.kill()  # also while nothing is under way
        await broker.start(client)
        figures = await settled(broker, client)

    asks = {id for id, kind in kinds.items() if kind == "asks"}
    refused = {id for id, kind in kinds.items() if kind == "refused"}
    replies = {f"reply-{id}" for id in asks}
    assert set(everything.ids) == set(kinds) | replies
    assert set(flaky.ids) == set(kinds)
    assert set(replying.ids) == asks
    assert set(refusing.ids) == refused
    assert set(sink.ids) == refused
    assert figures["default/refusing"]["dead"] == 0
    assert figures["default/refusing"]["dead_lettered"] >= len(refused)


async def test_what_is_acknowledged_survives_a_kill_at_once(tmp_path: Path, processes: None) -> None:
    """No subscriber is up: the 202 alone must be enough."""
    acknowledged = []
    async with process(tmp_path) as (broker, client):
        await apply(broker, client, "Broker", "default", {})
        waiting = {"retry": 5, "backoffDelay": "PT1H", "backoffPolicy": "linear"}
        nowhere = {"broker": "default", "subscriber": {"uri": "http://127.0.0.1:9/"}, "delivery": waiting}
        await apply(broker, client, "Trigger", "t", nowhere)
        for round in range(4):

            async def send(id: str) -> None:
                with contextlib.suppress(httpx2.TransportError):
                    headers = {**HEADERS, "ce-id": id, "ce-type": "t"}
                    if (await client.post(f"{broker.url}/default/default", headers=headers)).status_code == 202:
                        acknowledged.append(id)

            tasks = [asyncio.create_task(send(f"{round}-{n}")) for n in range(20)]
            await until(lambda prefix=f"{round}-": any(id.startswith(prefix) for id in acknowledged), interval=0.0)
            broker.kill()
            await asyncio.gather(*tasks)
            await broker.start(client)
        listed = (await client.get(f"{broker.url}/-/events?limit=1000")).json()["items"]
        figures = (await client.get(f"{broker.url}/-/figures")).json()["triggers"][0]
    assert set(acknowledged) <= {event["attributes"]["id"] for event in listed}
    assert figures["depth"] == len(listed)
