"""Configuration at run time, restarts, pruning, and the admin interface's answers."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from polling import until

from local.broker import history, queries, retention
from local.broker.resources import ResourceError
from local.broker.schema import DeliveryState
from local.broker.store import Store, StoreError

pytestmark = pytest.mark.usefixtures("processes")


async def test_new_trigger_sees_only_new_events(broker: Any, subscribe: Any) -> None:
    subscriber = await subscribe()
    await broker.send("before")
    await broker.trigger("t", subscriber.url)
    await broker.send("after")
    await broker.idle()
    assert subscriber.ids == ["after"]


async def test_replaced_trigger_delivers_its_queue_to_the_new_subscriber(broker: Any, subscribe: Any) -> None:
    new = await subscribe()
    await broker.trigger(
        "t", "http://127.0.0.1:9/", delivery={"retry": 1000, "backoffPolicy": "linear", "backoffDelay": "PT0.001S"}
    )
    await broker.send("1", ce_type="kept")
    await broker.trigger("t", new.url, filter={"attributes": {"type": "wanted"}})
    await broker.send("2", ce_type="unwanted")
    await broker.send("3", ce_type="wanted")
    await broker.idle()
    assert sorted(new.ids) == ["1", "3"]


async def test_removed_trigger_drops_its_queue_for_good(broker: Any, subscribe: Any) -> None:
    gone, second = await subscribe(lambda request, n: (500, {}, b"")), await subscribe()
    await broker.trigger("t", gone.url, delivery={"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT1H"})
    await broker.send("1")
    await broker.send("2")
    response = await broker.client.delete(f"{broker.url}/-/triggers/default/t")
    assert response.status_code == 204
    assert (await broker.get("events/1"))["deliveries"] == []
    await broker.trigger("t", second.url)
    await broker.send("3")
    await broker.idle()
    assert second.ids == ["3"]
    assert (await broker.client.delete(f"{broker.url}/-/triggers/default/none")).status_code == 404


async def test_dead_letters_outlive_their_trigger_and_follow_its_successor(broker: Any, subscribe: Any) -> None:
    refusing, successor = await subscribe(lambda request, n: (400, {}, b"")), await subscribe()
    await broker.trigger("t", refusing.url)
    await broker.send("1")
    await broker.idle()
    await broker.service.remove("Trigger", "default", "t")
    (letter,) = (await broker.get("dead-letters"))["items"]
    assert letter["trigger_removed"] is True
    refused = await broker.client.post(f"{broker.url}/-/dead-letters/{letter['name']}/replay")
    assert refused.json()["error"].endswith("its Trigger default/t is gone; apply it again first")
    await broker.trigger("t", successor.url)
    await broker.service.replay(letter["name"])
    await broker.idle()
    assert successor.ids == ["1"]


async def test_removed_broker_refuses_events_and_its_triggers_finish(broker: Any, subscribe: Any) -> None:
    subscriber = await subscribe()
    await broker.trigger("t", subscriber.url)
    await broker.send("1")
    assert (await broker.client.delete(f"{broker.url}/-/brokers/default/default")).status_code == 204
    assert (await broker.send("2")).status_code == 404
    await broker.idle()
    assert subscriber.ids == ["1"]


async def test_everything_resumes_after_a_restart(start_broker: Any, subscribe: Any) -> None:
    subscriber, down = await subscribe(), {"status": 500}
    flaky = await subscribe(lambda request, n: (down["status"], {}, b""))
    refusing = await subscribe(lambda request, n: (400, {}, b""))
    sink = await subscribe(lambda request, n: (down["status"], {}, b""))
    slowly = {"retry": 20, "backoffPolicy": "linear", "backoffDelay": "PT0.3S"}
    async with start_broker() as broker:
        await broker.trigger("good", subscriber.url)
        await broker.trigger("flaky", flaky.url, delivery=slowly)
        await broker.trigger("refusing", refusing.url, delivery={**slowly, "deadLetterSink": {"uri": sink.url}})
        for n in range(20):
            await broker.send(str(n))
        await until(lambda: min(len(endpoint.requests) for endpoint in (flaky, sink, subscriber)) >= 20)
    down["status"] = 202
    async with start_broker() as broker:
        await broker.idle()
        figures = {figure["trigger"]: figure for figure in (await broker.get("figures"))["triggers"]}
        assert figures["default/good"]["delivered"] == 20
        assert figures["default/flaky"]["delivered"] == 20
        assert figures["default/refusing"]["dead_lettered"] == 20
    assert subscriber.ids == [str(n) for n in range(20)]
    assert len(refusing.requests) == 20


async def test_two_brokers_on_one_database_are_refused(start_broker: Any) -> None:
    async with start_broker():
        with pytest.raises(StoreError, match=r"another broker \(process \d+\) uses .*broker.db"):
            async with start_broker():
                pass


async def test_broker_of_a_trigger_cannot_change(broker: Any) -> None:
    await broker.trigger("t", "http://127.0.0.1:9/")
    with pytest.raises(ResourceError, match=r"spec\.broker cannot change"):
        await broker.trigger("t", "http://127.0.0.1:9/", broker="other")


async def test_pruning_forgets_what_is_delivered_and_nothing_else(start_broker: Any, subscribe: Any) -> None:
    async with start_broker(keep_events=3) as broker:
        subscriber = await subscribe()
        refusing = await subscribe(lambda request, n: (400, {}, b""))
        failing = await subscribe(lambda request, n: (500, {}, b""))
        await broker.trigger("good", subscriber.url)
        await broker.trigger("dead", refusing.url, filter={"attributes": {"type": "dead"}})
        await broker.trigger(
            "waiting",
            failing.url,
            filter={"attributes": {"type": "waiting"}},
            delivery={"retry": 9, "backoffPolicy": "linear", "backoffDelay": "PT1H"},
        )
        await broker.send("dead", ce_type="dead")
        await broker.send("waiting", ce_type="waiting")
        for n in range(10):
            await broker.send(str(n))
        await until(lambda: len(subscriber.requests) >= 12 and failing.requests and refusing.requests)
        await broker.service.store.flush()
        assert await broker.service.prune() == 7
        kept = [event["attributes"]["id"] for event in (await broker.get("events"))["items"]]
        assert kept == ["9", "8", "7", "waiting", "dead"]


async def test_events_are_listed_by_type_id_and_page(broker: Any) -> None:
    for n in range(5):
        await broker.send(str(n), b"xy", ce_type="even" if n % 2 == 0 else "odd")
    assert [e["attributes"]["id"] for e in (await broker.get("events?type=even"))["items"]] == ["4", "2", "0"]
    (event,) = (await broker.get("events?id=3"))["items"]
    assert (event["bytes"], event["broker"]) == (2, "default/default")
    page = (await broker.get("events?limit=2&before=4"))["items"]
    assert [e["seq"] for e in page] == [3, 2]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "events/99", None, 404, "there is no event 99: it never existed or has been deleted"),
        ("GET", "events?limit=many", None, 400, "limit: must be a whole number, found 'many'"),
        ("GET", "events?trace=x", None, 400, "trace: must be a trace id of 32 hex digits, found 'x'"),
        ("GET", "dead-letters/1-1", None, 404, "there is no dead letter '1-1'"),
        ("POST", "dead-letters/x/replay", None, 404, "there is no dead letter 'x'"),
        ("PUT", "objects", b"{", 400, "the body must be a Broker or a Trigger in JSON"),
        ("PUT", "objects", b'{"kind": "Pod"}', 422, "kind must be Broker or Trigger, found 'Pod'"),
        ("PUT", "objects", b'{"kind": "Trigger", "metadata": {}}', 422, "Trigger: metadata.name is required"),
        ("GET", "nothing", None, 404, "Not Found"),
    ],
)
async def test_admin_errors(broker: Any, method: str, path: str, body: Any, status: int, message: str) -> None:
    response = await broker.client.request(method, f"{broker.url}/-/{path}", content=body)
    assert (response.status_code, response.json()) == (status, {"error": message})


async def test_applied_objects_are_shown_and_probes_answer(broker: Any) -> None:
    trigger = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "t", "namespace": "ns"},
        "spec": {"broker": "default", "subscriber": {"ref": {"kind": "Service", "name": "x"}}},
        "status": {"subscriberUri": "http://127.0.0.1:9/"},
    }
    assert (await broker.client.put(f"{broker.url}/-/objects", json=trigger)).status_code == 204
    assert trigger in (await broker.get("objects"))["items"]
    for path in ("/healthz", "/readyz"):
        assert (await broker.client.get(broker.url + path)).text == "ok"


async def test_cluster_names_are_sent_to_the_gateway(start_broker: Any, subscribe: Any) -> None:
    gateway = await subscribe()
    address, _, path = gateway.url.removeprefix("http://").partition("/")
    async with start_broker(connect_to=(("svc.cluster.local", address),)) as broker:
        await broker.trigger("t", f"http://collect.mcqa.svc.cluster.local/{path}")
        await broker.send("1")
        await broker.idle()
    assert gateway.requests[0].headers["host"] == "collect.mcqa.svc.cluster.local"


async def test_full_disk_refuses_and_recovers(start_broker: Any, subscribe: Any) -> None:
    gate = asyncio.Event()

    async def respond(request: Any, n: int) -> Any:
        await gate.wait()
        return 202, {}, b""

    subscriber = await subscribe(respond)
    async with start_broker(concurrency=100) as broker:
        await broker.trigger("t", subscriber.url)
        accepted = 0
        writer = broker.service.store._writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages + 20}")
        while (answer := await broker.send(str(accepted), b"x" * 20_000)).status_code == 202:
            accepted += 1
        assert 0 < accepted < 50
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "no space" in answer.json()["error"]
        gate.set()
        await broker.client.get(f"{broker.url}/readyz")
        writer.execute("PRAGMA max_page_count = 1000000")
        await broker.service.store.wait_until_writable()
        assert (await broker.send("last")).status_code == 202
        await broker.idle()
        assert (await broker.client.get(f"{broker.url}/readyz")).text == "ok"
    assert set(subscriber.ids) == {str(n) for n in range(accepted)} | {"last"}


async def test_odd_json_can_be_shown(broker: Any) -> None:
    await broker.send("1", b'{"big": 1e400, "half": "\\ud800", "n": 1.5}', content_type="application/json")
    assert (await broker.get("events/1"))["event"]["data"] == {"big": "1e400", "half": "\ud800", "n": 1.5}


async def test_bad_write_harms_no_other(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    done: list[str] = []
    good = [
        store.write(partial(queries.save_broker, key=key, item={"k": key}), lambda _, key=key: done.append(key))  # type: ignore[misc]
        for key in "ab"
    ]
    bad = store.write(lambda db: db.execute("INSERT INTO nothing VALUES (1)"))
    results = await asyncio.gather(good[0], bad, good[1], return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["NoneType", "OperationalError", "NoneType"]
    assert done == ["a", "b"]
    assert [item["k"] for item in queries.load_resources(store.reader)[0]] == ["a", "b"]
    await store.close()


async def test_operations_that_wait_share_a_commit(tmp_path: Path) -> None:
    commits: list[int] = []
    store = Store(tmp_path / "x.db", lambda size, seconds: commits.append(size))
    names = [str(number) for number in range(100)]
    await asyncio.gather(*(store.write(partial(queries.save_broker, key=key, item={})) for key in names))
    assert commits == [100]
    assert len(queries.load_resources(store.reader)[0]) == 100
    await store.close()


async def test_queries_use_the_partial_indexes(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    plans: list[str] = []

    class Explaining:
        """Notes the plan of every SELECT before it runs."""

        def execute(self, sql: str, values: Any = ()) -> Any:
            if sql.startswith("SELECT"):
                plans.extend(row[3] for row in store.reader.execute("EXPLAIN QUERY PLAN " + sql, values))
            return store.reader.execute(sql, values)

        def executemany(self, sql: str, values: Any) -> None: ...

    db: Any = Explaining()
    queries.next_deliveries(db, 1, DeliveryState.PENDING, 10, set(), 1000)
    queries.queue_depth(db, 1, DeliveryState.DEAD_LETTERING)
    history.list_dead_letters(db)
    history.figures(db)
    retention.prune(db, before=time.time(), dead_before=0, keep=10, limit=10)
    await store.close()
    scans = [plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan and "CONSTANT" not in plan]
    assert scans == [], plans
