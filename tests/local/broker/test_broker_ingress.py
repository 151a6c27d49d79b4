"""The ingress contract: what is accepted, what is refused, and what an accepted event gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("processes")

STRUCTURED = {"content-type": "application/cloudevents+json; charset=UTF-8"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}
BINARY = {"ce-specversion": "1.0", "ce-source": "/test", "ce-type": "test.type", "ce-id": "1"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/test", "type": "test.type"}


async def test_binary_event_is_accepted_and_delivered(broker: Any, subscribe: Any) -> None:
    subscriber = await subscribe()
    await broker.trigger("all", subscriber.url + "/path?x=1")
    response = await broker.send(
        "1", b'{"a": 1}', content_type="application/json; charset=utf-8", ce_subject="Euro%20%E2%82%AC", ce_count="5"
    )
    assert (response.status_code, response.content) == (202, b"")
    await broker.idle()
    (request,) = subscriber.requests
    assert request.path == "/path"
    assert request.body == b'{"a": 1}'
    got = {k: v for k, v in request.headers.items() if k.startswith("ce-") or k == "content-type"}
    arrival = got.pop("ce-knativearrivaltime")
    assert arrival.endswith("Z")
    assert got == {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/test",
        "ce-type": "test.type",
        "ce-subject": "Euro%20%E2%82%AC",
        "ce-count": "5",
        "content-type": "application/json; charset=utf-8",
    }
    assert request.headers["prefer"] == "reply"
    assert request.headers["kn-namespace"] == "default"


async def test_structured_event_is_delivered_in_binary_mode(broker: Any, subscribe: Any) -> None:
    subscriber = await subscribe()
    await broker.trigger("all", subscriber.url)
    event = {**EVENT, "flag": True, "count": 3, "subject": None, "data": {"b": [1.50, "é"]}}
    body = json.dumps(event, ensure_ascii=False).replace("1.5", "1.50")
    response = await broker.client.post(f"{broker.url}/default/default", content=body, headers=STRUCTURED)
    assert response.status_code == 202
    await broker.idle()
    (request,) = subscriber.requests
    assert request.body.decode() == '{"b": [1.50, "é"]}'
    assert request.headers["content-type"] == "application/json"
    assert (request.headers["ce-flag"], request.headers["ce-count"]) == ("true", "3")
    assert "ce-subject" not in request.headers


async def test_batch_is_accepted_whole(broker: Any, subscribe: Any) -> None:
    subscriber = await subscribe()
    await broker.trigger("all", subscriber.url)
    batch = [{**EVENT, "id": str(n)} for n in range(3)]
    response = await broker.client.post(f"{broker.url}/default/default", json=batch, headers=BATCHED)
    assert response.status_code == 202
    await broker.idle()
    assert sorted(subscriber.ids) == ["0", "1", "2"]


async def test_batch_with_one_bad_event_is_refused_whole(broker: Any, subscribe: Any) -> None:
    subscriber = await subscribe()
    await broker.trigger("all", subscriber.url)
    response = await broker.client.post(f"{broker.url}/default/default", json=[EVENT, {"id": "2"}], headers=BATCHED)
    assert response.status_code == 400
    assert response.json() == {"error": "event 1: specversion: is required and missing"}
    assert (await broker.get("events"))["items"] == []


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        ({}, b"", "not a CloudEvent: the header ce-specversion, ce-id, ce-source, ce-type is missing"),
        ({**BINARY, "ce-id": ""}, b"", "id: must not be empty"),
        ({**BINARY, "ce-specversion": "0.3"}, b"", "specversion: must be 1.0, found '0.3'"),
        ({**BINARY, "ce-source": "a b"}, b"", "source: must be a URI reference"),
        ({**BINARY, "ce-time": "yesterday"}, b"", "time: must be a timestamp"),
        ({**BINARY, "ce-bad_name": "x"}, b"", "'bad_name': an attribute's name may only contain a-z and 0-9"),
        ({**BINARY, "ce-datacontenttype": "text/plain"}, b"x", "ce-datacontenttype: must not be sent"),
        ({**BINARY, "ce-subject": "%C0%A0"}, b"", "ce-subject: the header value"),
        ({**BINARY, "content-type": "nonsense"}, b"x", "datacontenttype: must be a media type"),
        (STRUCTURED, b"{", "the event is not JSON"),
        (STRUCTURED, b"[]", "a structured event must be a JSON object"),
        (STRUCTURED, json.dumps({**EVENT, "x": 2**40}).encode(), "x: must be a 32-bit integer"),
        (STRUCTURED, json.dumps({**EVENT, "data": 1, "data_base64": "AA=="}).encode(), "data and data_base64 exclude"),
        ({"content-type": "application/cloudevents+avro"}, b"x", "content-type: 'application/cloudevents+avro' is not"),
        ({**BINARY, "ce-knativebrokerttl": "1"}, b"", "knativebrokerttl: is used up"),
    ],
)
async def test_malformed_is_400(broker: Any, headers: dict[str, str], body: bytes, message: str) -> None:
    response = await broker.client.post(f"{broker.url}/default/default", content=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"].startswith(message)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods_are_405(broker: Any, method: str) -> None:
    response = await broker.client.request(method, f"{broker.url}/default/default")
    assert (response.status_code, response.headers["allow"]) == (405, "POST, OPTIONS")


async def test_options_answers_the_webhook_handshake(broker: Any) -> None:
    response = await broker.client.options(
        f"{broker.url}/default/default", headers={"WebHook-Request-Origin": "x.example", "WebHook-Request-Rate": "120"}
    )
    assert response.status_code == 200
    assert response.headers["webhook-allowed-origin"] == "*"
    assert response.headers["webhook-allowed-rate"] == "*"
    assert response.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/default/default/", 202), ("/default/other", 404), ("/", 404), ("/default", 400), ("/a/b/c", 400)],
)
async def test_paths(broker: Any, path: str, status: int) -> None:
    response = await broker.client.post(f"{broker.url}{path}", headers=BINARY)
    assert response.status_code == status


async def test_body_limit(start_broker: Any) -> None:
    async with start_broker(max_body=1000) as broker:
        assert (await broker.send("1", b"x" * 1000)).status_code == 202

        async def chunks() -> Any:
            for _ in range(11):
                yield b"x" * 100

        response = await broker.client.post(f"{broker.url}/default/default", content=chunks(), headers=BINARY)
        assert response.status_code == 413


async def test_time_to_live_is_set_or_counted_down(broker: Any) -> None:
    for id, ttl in (("none", None), ("seven", "7"), ("broken", "many"), ("huge", "99999")):
        headers = {} if ttl is None else {"ce_knativebrokerttl": ttl}
        assert (await broker.send(id, **headers)).status_code == 202
    events = (await broker.get("events"))["items"]
    ttls = {event["attributes"]["id"]: event["attributes"]["knativebrokerttl"] for event in events}
    assert ttls == {"none": 255, "seven": 6, "broken": 255, "huge": 255}


async def test_many_senders_at_once(broker: Any, subscribe: Any) -> None:
    subscriber = await subscribe()
    await broker.trigger("all", subscriber.url)
    answers = await asyncio.gather(*(broker.send(str(n)) for n in range(100)))
    assert {answer.status_code for answer in answers} == {202}
    await broker.idle()
    assert sorted(subscriber.ids, key=int) == [str(n) for n in range(100)]
    text = (await broker.client.get(f"{broker.url}/metrics")).text
    labels = 'namespace_name="default",response_code_class="2xx"'
    assert f'broker_ingress_events_total{{broker_name="default",{labels}}} 100.0' in text
    assert f'broker_delivery_attempts_total{{{labels},stage="subscriber",trigger_name="all"}} 100.0' in text
    assert 'broker_queue_depth{namespace_name="default",stage="subscriber",trigger_name="all"} 0.0' in text
