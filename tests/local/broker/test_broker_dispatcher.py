"""The delivery contract: retries, dead letters, replies, isolation, order."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from polling import until

pytestmark = pytest.mark.usefixtures("processes")

FAST = {"backoffPolicy": "linear", "backoffDelay": "PT0.005S"}


def answering(status: int, body: bytes = b"", **headers: str) -> Any:
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, n: (status, extra, body)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 404, 408, 409, 429])
async def test_retried_statuses(broker: Any, subscribe: Any, status: int) -> None:
    failing, sink = await subscribe(answering(status, b"sorry")), await subscribe()
    delivery = {"retry": 2, **FAST, "deadLetterSink": {"uri": sink.url}}
    await broker.trigger("t", failing.url, delivery=delivery)
    await broker.send("1", b"x")
    await broker.idle()
    assert failing.ids == ["1", "1", "1"]
    (letter,) = sink.requests
    assert letter.headers["ce-knativeerrorcode"] == str(status)


@pytest.mark.parametrize("status", [400, 401, 403, 405, 410, 413, 422, 301, 303, 307])
async def test_other_statuses_go_straight_to_the_dead_letter_sink(broker: Any, subscribe: Any, status: int) -> None:
    sink = await subscribe()
    failing = await subscribe(answering(status, b"no", location=sink.url))
    await broker.trigger("t", failing.url, delivery={"retry": 5, **FAST, "deadLetterSink": {"uri": sink.url}})
    await broker.send("1")
    await broker.idle()
    assert failing.ids == ["1"]
    assert sink.ids == ["1"]


async def test_recovers_on_retry(broker: Any, subscribe: Any) -> None:
    flaky = await subscribe(lambda request, n: (503 if n < 2 else 202, {}, b""))
    await broker.trigger("t", flaky.url)
    await broker.send("1")
    await broker.idle()
    assert flaky.ids == ["1", "1", "1"]
    (figures,) = (await broker.get("figures"))["triggers"]
    assert (figures["delivered"], figures["retried"], figures["failed"]) == (1, 2, 0)
    (delivery,) = (await broker.get("events/1"))["deliveries"]
    assert (delivery["state"], delivery["attempts"], delivery["status"]) == ("delivered", 3, 202)


async def test_dead_letter_extensions(broker: Any, subscribe: Any) -> None:
    failing, sink = await subscribe(answering(422, b"z" * 2000)), await subscribe()
    await broker.trigger("t", failing.url + "/in", delivery={"deadLetterSink": {"uri": sink.url}})
    await broker.send("1", b"payload", content_type="text/plain", ce_mine="kept")
    await broker.idle()
    (letter,) = sink.requests
    assert letter.body == b"payload"
    assert letter.headers["ce-mine"] == "kept"
    assert letter.headers["ce-knativeerrordest"] == failing.url + "/in"
    assert letter.headers["ce-knativeerrorcode"] == "422"
    data = letter.headers["ce-knativeerrordata"].replace("%3D", "=")
    assert len(data) == 1024
    assert base64.b64decode(data) == b"z" * 768
    (listed,) = (await broker.get("dead-letters"))["items"]
    assert (listed["state"], listed["trigger"], listed["id"]) == ("dead_lettered", "default/t", "1")


async def test_unreachable_subscriber_is_code_500(broker: Any, subscribe: Any) -> None:
    sink = await subscribe()
    await broker.trigger("t", "http://127.0.0.1:9/", delivery={"retry": 1, "deadLetterSink": {"uri": sink.url}})
    await broker.send("1")
    await broker.idle()
    assert sink.requests[0].headers["ce-knativeerrorcode"] == "500"
    reason = base64.b64decode(sink.requests[0].headers["ce-knativeerrordata"])
    assert reason.startswith(b"dispatch error: cannot connect to 127.0.0.1:9")


async def test_slow_subscriber_times_out_and_is_retried(broker: Any, subscribe: Any) -> None:
    async def respond(request: Any, n: int) -> Any:
        if n == 0:
            await asyncio.sleep(5)
        return 202, {}, b""

    slow = await subscribe(respond)
    await broker.trigger("t", slow.url, delivery={"retry": 1, "timeout": "PT0.1S"})
    await broker.send("1")
    await broker.idle()
    assert slow.ids == ["1", "1"]


async def test_failing_sink_is_retried_then_the_letter_is_kept(broker: Any, subscribe: Any) -> None:
    failing, sink = await subscribe(answering(400, b"why")), await subscribe(answering(500))
    await broker.trigger("t", failing.url, delivery={"retry": 2, **FAST, "deadLetterSink": {"uri": sink.url}})
    await broker.send("1")
    await broker.idle()
    assert len(sink.requests) == 3
    (letter,) = (await broker.get("dead-letters"))["items"]
    assert (letter["state"], letter["status"], letter["response"]) == ("dead", 400, "why")
    assert letter["error"] == "the dead letter sink failed too: it answered 500"


async def test_without_a_sink_the_letter_is_kept_and_can_be_replayed(broker: Any, subscribe: Any) -> None:
    answers = {"status": 400}
    failing = await subscribe(lambda request, n: (answers["status"], {}, b""))
    other = await subscribe()
    await broker.trigger("failing", failing.url)
    await broker.trigger("other", other.url)
    await broker.send("1", b'{"q": 1}', content_type="application/json", traceparent="00-aa-bb-01")
    await broker.idle()
    (letter,) = (await broker.get("dead-letters?trigger=default/failing"))["items"]
    shown = await broker.get(f"dead-letters/{letter['name']}")
    assert shown["event"]["data"] == {"q": 1}
    assert shown["destination"] == failing.url
    answers["status"] = 204
    replayed = await broker.client.post(f"{broker.url}/-/dead-letters/{letter['name']}/replay")
    assert replayed.status_code == 202
    await broker.idle()
    assert failing.ids == ["1", "1"]
    assert failing.requests[1].headers["traceparent"] == "00-aa-bb-01"
    assert other.ids == ["1"]
    assert (await broker.get("dead-letters"))["items"] == []
    second = await broker.client.post(f"{broker.url}/-/dead-letters/{letter['name']}/replay")
    assert (second.status_code, second.json()["error"]) == (404, f"there is no dead letter '{letter['name']}'")


async def test_trigger_delivery_replaces_the_brokers_but_inherits_its_sink(broker: Any, subscribe: Any) -> None:
    failing, sink, own = await subscribe(answering(500)), await subscribe(), await subscribe()
    await broker.broker(delivery={"retry": 4, **FAST, "deadLetterSink": {"uri": sink.url}})
    await broker.trigger("inherits", failing.url + "/inherits")
    await broker.trigger("no-retries", failing.url + "/no-retries", delivery={"timeout": "PT5S"})
    await broker.trigger("own", failing.url + "/own", delivery={"retry": 1, "deadLetterSink": {"uri": own.url}})
    await broker.send("1")
    await broker.idle()
    paths = [request.path for request in failing.requests]
    assert {path: paths.count(path) for path in paths} == {"/inherits": 5, "/no-retries": 1, "/own": 2}
    assert len(sink.requests) == 2
    assert len(own.requests) == 1


async def test_retry_after_is_honoured_up_to_its_limit(broker: Any, subscribe: Any) -> None:
    times: list[float] = []

    def respond(request: Any, n: int) -> Any:
        times.append(time.monotonic())
        return (429, {"retry-after": "3600"}, b"") if n == 0 else (202, {}, b"")

    busy = await subscribe(respond)
    await broker.trigger("t", busy.url, delivery={"retry": 1, "retryAfterMax": "PT0.3S"})
    await broker.send("1")
    await broker.idle()
    assert times[1] - times[0] >= 0.3


async def test_reply_is_a_new_event(broker: Any, subscribe: Any) -> None:
    reply = {"ce-specversion": "1.0", "ce-id": "r", "ce-source": "/reply", "ce-type": "reply", "content-type": "text/x"}
    asked = await subscribe(lambda request, n: (200, reply, b"answer"))
    listener = await subscribe()
    await broker.trigger("asked", asked.url, filter={"attributes": {"type": "test.type"}})
    await broker.trigger("listener", listener.url, filter={"attributes": {"type": "reply"}})
    await broker.send("1", traceparent="00-trace-span-01", ce_knativebrokerttl="10")
    await broker.idle()
    (request,) = listener.requests
    assert (request.id, request.body, request.headers["ce-source"]) == ("r", b"answer", "/reply")
    assert request.headers["traceparent"] == "00-trace-span-01"
    assert "ce-knativebrokerttl" not in request.headers
    attributes = (await broker.get("events?id=r"))["items"][0]["attributes"]
    assert attributes["knativebrokerttl"] == 8
    original, answer = await broker.get("events/1"), await broker.get("events/2")
    assert (original["deliveries"][0]["reply"], original["reply_to"]) == (2, None)
    assert (answer["deliveries"][0]["reply"], answer["reply_to"]) == (None, 1)


async def test_structured_reply(broker: Any, subscribe: Any) -> None:
    event = {"specversion": "1.0", "id": "r", "source": "/reply", "type": "reply", "data": {"x": 1}}
    headers = {"content-type": "application/cloudevents+json"}
    asked = await subscribe(lambda request, n: (202, headers, json.dumps(event).encode()))
    await broker.trigger("asked", asked.url, filters=[{"not": {"exact": {"type": "reply"}}}])
    await broker.send("1")
    await broker.idle()
    assert (await broker.get("events/2"))["event"]["data"] == {"x": 1}


async def test_reply_loop_is_cut(broker: Any, subscribe: Any) -> None:
    reply = {"ce-specversion": "1.0", "ce-source": "/loop", "ce-type": "loop"}
    looping = await subscribe(lambda request, n: (200, {**reply, "ce-id": str(n)}, b""))
    sink = await subscribe()
    await broker.trigger("t", looping.url, delivery={"retry": 3, "deadLetterSink": {"uri": sink.url}})
    await broker.send("first", ce_knativebrokerttl="5")
    await broker.idle()
    assert looping.ids == ["first", "0", "1", "2"]
    (letter,) = sink.requests
    assert (letter.id, letter.headers["ce-knativeerrorcode"]) == ("2", "400")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/plain"}, b"OK"),
        ({}, b"x"),
        ({"content-type": "application/cloudevents+json"}, b"{}"),
        ({"ce-specversion": "1.0", "ce-id": "r"}, b""),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]"),
    ],
)
async def test_reply_that_is_no_event_is_a_502(broker: Any, subscribe: Any, headers: Any, body: bytes) -> None:
    talkative, sink = await subscribe(lambda request, n: (200, headers, body)), await subscribe()
    await broker.trigger("t", talkative.url, delivery={"retry": 2, **FAST, "deadLetterSink": {"uri": sink.url}})
    await broker.send("1")
    await broker.idle()
    assert len(talkative.requests) == 3
    assert sink.requests[0].headers["ce-knativeerrorcode"] == "502"


async def test_structured_delivery_format(broker: Any, subscribe: Any) -> None:
    subscriber = await subscribe()
    await broker.trigger("t", subscriber.url, delivery={"format": "json"})
    await broker.send("1", b'{"a":1}', content_type="application/json")
    await broker.idle()
    (request,) = subscriber.requests
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert json.loads(request.body)["data"] == {"a": 1}
    assert "knativebrokerttl" not in json.loads(request.body)


async def test_slow_subscriber_holds_up_nobody_else(broker: Any, subscribe: Any) -> None:
    gate = asyncio.Event()

    async def respond(request: Any, n: int) -> Any:
        await gate.wait()
        return 202, {}, b""

    slow, quick = await subscribe(respond), await subscribe()
    await broker.trigger("slow", slow.url)
    await broker.trigger("quick", quick.url)
    for n in range(60):
        await broker.send(str(n))
    await until(lambda: len(quick.requests) >= 60)
    assert 1 <= slow.most_in_flight <= 16
    gate.set()
    await broker.idle()
    assert len(slow.requests) == 60
    assert slow.most_in_flight <= 16


async def test_one_at_a_time_keeps_the_order_beyond_the_window(start_broker: Any, subscribe: Any) -> None:
    async with start_broker(concurrency=1, window=5) as broker:
        gate = asyncio.Event()

        async def respond(request: Any, n: int) -> Any:
            await gate.wait()
            return 202, {}, b""

        subscriber = await subscribe(respond)
        await broker.trigger("t", subscriber.url)
        for n in range(50):
            await broker.send(str(n))
        gate.set()
        for n in range(50, 100):
            await broker.send(str(n))
        await broker.idle()
        assert subscriber.ids == [str(n) for n in range(100)]
        assert subscriber.most_in_flight == 1


async def test_many_dead_letters_pass_a_small_window(start_broker: Any, subscribe: Any) -> None:
    async with start_broker(window=4) as broker:
        failing, sink = await subscribe(answering(400)), await subscribe()
        await broker.trigger("t", failing.url, delivery={"deadLetterSink": {"uri": sink.url}})
        for n in range(60):
            await broker.send(str(n))
        await broker.idle()
        assert sorted(sink.ids, key=int) == [str(n) for n in range(60)]
