"""Who gets a replica, who waits, and what the controller hears of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway_cases import Rig, request, rig

from local.gateway.activator import Replica, RevisionThrottler
from local.gateway.control_protocol import RevisionState
from local.gateway.errors import GatewayError

ONE = RevisionState(timeout=1.0, limit=1, queue=2, replicas={"a": 1})
NONE = replace(ONE, replicas={})


def later(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def outcome(task: asyncio.Task[Replica]) -> str | int:
    try:
        return (await task).name
    except GatewayError as refusal:
        return refusal.status


async def test_the_least_busy_replica_with_room_is_taken() -> None:
    revision = RevisionThrottler("r", replace(ONE, limit=2, replicas={"a": 1, "b": 2}), lambda: None)
    taken = [await revision.acquire(later()) for _ in range(4)]
    assert sorted(replica.name for replica in taken) == ["a", "a", "b", "b"]
    waiting = asyncio.create_task(revision.acquire(later()))
    await asyncio.sleep(0)
    assert revision.load().waiting == 1
    revision.release(taken[0])
    assert (await waiting) is taken[0]


async def test_those_who_wait_are_served_in_order_and_bounded() -> None:
    noticed = []
    revision = RevisionThrottler("r", NONE, lambda: noticed.append(1))
    waiting = [asyncio.create_task(revision.acquire(later())) for _ in range(3)]
    assert await outcome(waiting[2]) == 503, "the queue holds two"
    assert len(noticed) == 2
    revision.update(replace(ONE, limit=0))
    assert [await outcome(task) for task in waiting[:2]] == ["a", "a"]
    with pytest.raises(GatewayError) as refused:
        await RevisionThrottler("r", NONE, lambda: None).acquire(later(0.0))
    assert refused.value.status == 504


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (replace(NONE, failed="broken"), 503),
        (replace(NONE, refusals=1, message="exited with status 3"), 503),
        (replace(ONE, refusals=1), "a"),
        (ONE, "a"),
    ],
)
async def test_what_the_controller_says_ends_the_waiting(state: Any, expected: Any) -> None:
    revision = RevisionThrottler("r", NONE, lambda: None)
    waiting = asyncio.create_task(revision.acquire(later()))
    await asyncio.sleep(0)
    revision.update(state)
    assert await outcome(waiting) == expected


async def test_who_leaves_while_waiting_takes_nothing() -> None:
    revision = RevisionThrottler("r", NONE, lambda: None)
    first, second = (asyncio.create_task(revision.acquire(later())) for _ in "ab")
    await asyncio.sleep(0)
    first.cancel()
    revision.update(ONE)
    assert await outcome(second) == "a"
    assert revision.in_flight() == {"a": 1}


async def test_a_replica_that_leaves_is_told_until_it_is_done() -> None:
    revision = RevisionThrottler("r", ONE, lambda: None)
    busy = await revision.acquire(later())
    revision.update(NONE)
    assert (revision.in_flight(), revision.idle) == ({"a": 1}, False)
    revision.release(busy)
    assert (revision.in_flight(), revision.idle) == ({}, True)


async def test_a_request_shorter_than_a_tick_of_the_clock_is_seen() -> None:
    revision = RevisionThrottler("r", ONE, lambda: None)
    before = time.monotonic()
    revision.release(await revision.acquire(later()))
    assert 0 < revision.load().busy <= time.monotonic() - before + 1e-5


@pytest.mark.usefixtures("processes")
async def test_the_controller_hears_of_the_first_who_waits_and_of_the_last_who_is_served(gateway: Rig) -> None:
    gateway.upstream.hold = asyncio.Event()
    revisions = {key: replace(state, limit=1) for key, state in gateway.state.revisions.items()}
    await gateway.push(revisions=revisions)
    asking = [asyncio.create_task(gateway.exchange(request())) for _ in range(2)]
    reported = await gateway.report(lambda report: report.loads["d", "m-1"].waiting == 1)
    assert reported.in_flight == {"r-1": 1}
    # Taken out while it is busy: no more requests, and told busy under the new version until it is done.
    empty = {key: replace(state, replicas={}) for key, state in revisions.items()}
    reported = await gateway.push(revisions=empty)
    assert reported.in_flight == {"r-1": 1}
    gateway.upstream.hold.set()
    reported = await gateway.report(lambda report: not report.in_flight)
    assert reported.loads["d", "m-1"].waiting == 1
    await gateway.push(revisions=revisions)
    assert [(await task).status for task in asking] == [200, 200]


async def test_a_new_gateway_refuses_nothing_before_it_knows_the_services(tmp_path: Path, processes: None) -> None:
    async with rig(tmp_path) as made:
        made.gateway._context.state_known.clear()
        asking = asyncio.create_task(made.exchange(request()))
        await asyncio.sleep(0.05)
        assert not asking.done()
        await made.push()
        assert (await asking).status == 200


@pytest.mark.usefixtures("processes")
async def test_a_state_that_cannot_be_read_changes_nothing(gateway: Rig) -> None:
    gateway.writer.write(b"{}\n")
    await gateway.reader.read()  # the gateway ends this connection
    assert (await gateway.exchange(request())).status == 200
