"""The broker's history as the verb and the page read it, from a real broker."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_parts import sink
from small_loop import SmallLoop, small_loop
from typer.testing import CliRunner

from mcqa.readmodels import dead_letters, events
from mcqa.verbs import app

pytestmark = pytest.mark.usefixtures("processes")

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLoop]:
    with small_loop(tmp_path_factory.mktemp("loop")) as running, sink() as subscriber, sink() as refusing:
        refusing.status = 422
        filters = [{"exact": {"type": "refused"}}]
        running.apply("Trigger", "all", {"broker": "default", "subscriber": {"uri": subscriber.url}})
        running.apply(
            "Trigger", "picky", {"broker": "default", "subscriber": {"uri": refusing.url}, "filters": filters}
        )
        running.send(str(uuid.UUID(TRACE)), "asked", {"question": "Where is the needle?"})
        running.send("2", "refused", {}, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
        for number in range(3, 8):
            running.send(str(number), "other", {"number": number})
        running.settle()
        yield running


def ids(search: events.EventSearch) -> list[str]:
    return [event["attributes"]["id"] for event in search["events"]]


def test_events_are_searched(loop: SmallLoop) -> None:
    assert ids(events.search(loop.environ, type="other", limit=2)) == ["7", "6"]
    assert ids(events.search(loop.environ, text="NEEDLE")) == [str(uuid.UUID(TRACE))]
    for form in (TRACE, str(uuid.UUID(TRACE)), f"00-{TRACE}-b7ad6b7169203331-01"):
        assert ids(events.search(loop.environ, trace=form)) == ["2", str(uuid.UUID(TRACE))]
    assert ids(events.search(loop.environ, trace="no trace")) == []


def test_a_search_continues_where_it_stopped(loop: SmallLoop) -> None:
    first = events.search(loop.environ, limit=3)
    assert (ids(first), first["before"]) == (["7", "6", "5"], 5)
    rest = events.search(loop.environ, limit=10, before=first["before"])
    assert (ids(rest)[:2], rest["before"]) == (["4", "3"], None)


def test_an_event_s_way_is_told(loop: SmallLoop) -> None:
    found = events.event(loop.environ, 2)["event"]
    assert found is not None
    ways = {way["trigger"]: way for way in found["deliveries"]}
    assert ways["coding-mcqa/all"]["state"] == "delivered"
    refused = ways["coding-mcqa/picky"]
    assert (refused["state"], refused["status"], refused["dead_letter"]) == ("dead", 422, "2-2")
    assert events.event(loop.environ, 99)["event"] is None


def test_what_the_broker_keeps_is_a_dead_letter_and_can_be_tried_again(loop: SmallLoop) -> None:
    (letter,) = dead_letters.read(loop.environ, 10)
    assert (letter["name"], letter["type"], letter["code"]) == ("2-2", "refused", 422)
    assert events.replay_kept(loop.environ, "2-2") is True
    assert events.replay_kept(loop.environ, "99-1") is False
    loop.settle()
    assert [letter["name"] for letter in dead_letters.read(loop.environ, 10)] == ["2-2"]


def test_the_verb_searches_too(loop: SmallLoop) -> None:
    def run(*words: str) -> list[str]:
        result = CliRunner().invoke(app, ["events", "--json", "--dir", str(loop.folder.path), *words])
        assert result.exit_code == 0, result.output
        return [json.loads(line)["attributes"]["id"] for line in result.stdout.splitlines()]

    assert run("--trace", TRACE) == [str(uuid.UUID(TRACE)), "2"]
    assert run("--text", "needle", "--type", "asked") == [str(uuid.UUID(TRACE))]
    refused = CliRunner().invoke(app, ["events", "--trace", "x"])
    assert (refused.exit_code, "must have 32 hex digits, found 'x'" in refused.output) == (2, True)


def test_without_a_history_it_is_said_why(tmp_path: Path, loop: SmallLoop) -> None:
    cluster = {name: value for name, value in loop.environ.items() if name != "MCQA_LOCAL_DIR"}
    assert events.search(cluster)["history"] == "cluster"
    assert events.search({"MCQA_LOCAL_DIR": str(tmp_path)})["history"] == "loop-down"
    assert dead_letters.read(cluster, 10) == []


def test_a_broker_that_is_gone_is_told(tmp_path: Path) -> None:
    with small_loop(tmp_path / "loop") as running:
        environ = running.environ
    lock = running.folder.lock()
    assert lock is not None
    found = events.search(environ)
    lock.close()
    assert (found["history"], found["events"]) == ("broker-down", [])
