"""The pure decisions: filters, durations, configuration, retries, time to live, errors."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from local.broker.cloudevent import CloudEvent
from local.broker.config import (
    DEFAULT_DELIVERY,
    Broker,
    ConfigError,
    Delivery,
    effective_delivery,
    parse_broker,
    parse_trigger,
    resolve_addresses,
)
from local.broker.durations import parse_duration
from local.broker.filters import FilterError, parse_filters
from local.broker.retry import Done, GiveUp, Retry, judge, parse_retry_after
from local.broker.rules import (
    BadReply,
    NoReply,
    Reply,
    TtlExhausted,
    arrived,
    error_extensions,
    passed_on,
    reply_arrived,
    reply_headers,
    reply_in,
)
from local.broker.sender import route

EVENT = CloudEvent(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/mcqa/predictor",
        "type": "dev.cdeventsx.mcqa-drift.detected",
        "subject": "coding-mcqa",
        "flag": True,
        "count": 7,
    }
)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "passes"),
    [
        ({}, True),
        ({"filter": {}}, True),
        ({"filter": {"attributes": {"type": "dev.cdeventsx.mcqa-drift.detected"}}}, True),
        ({"filter": {"attributes": {"type": "dev.cdeventsx.mcqa-drift.checked"}}}, False),
        ({"filter": {"attributes": {"subject": "", "source": "/mcqa/predictor"}}}, True),
        ({"filter": {"attributes": {"missing": ""}}}, False),
        ({"filter": {"attributes": {"flag": "true", "count": "7"}}}, True),
        ({"filter": {"attributes": {"type": "other"}}, "filters": [{"exact": {"id": "1"}}]}, True),
        ({"filter": {"attributes": {"type": "other"}}, "filters": []}, False),
        ({"filters": [{"exact": {"id": "1"}}, {"exact": {"id": "2"}}]}, False),
        ({"filters": [{"exact": {"id": "1", "subject": "coding-mcqa"}}]}, True),
        ({"filters": [{"prefix": {"type": "dev.cdeventsx."}}]}, True),
        ({"filters": [{"prefix": {"missing": "x"}}]}, False),
        ({"filters": [{"suffix": {"type": ".detected"}}]}, True),
        ({"filters": [{"suffix": {"type": ".checked"}}]}, False),
        ({"filters": [{"any": [{"exact": {"id": "2"}}, {"suffix": {"type": ".detected"}}]}]}, True),
        ({"filters": [{"any": [{"exact": {"id": "2"}}, {"exact": {"id": "3"}}]}]}, False),
        ({"filters": [{"all": [{"exact": {"id": "1"}}, {"prefix": {"source": "/mcqa"}}]}]}, True),
        ({"filters": [{"all": [{"exact": {"id": "1"}}, {"prefix": {"source": "/x"}}]}]}, False),
        ({"filters": [{"not": {"exact": {"id": "2"}}}]}, True),
        ({"filters": [{"not": {"exact": {"missing": "2"}}}]}, True),
        ({"filters": [{"not": {"not": {"exact": {"id": "1"}}}}]}, True),
        ({"filters": [{"cesql": "type LIKE '%.detected' AND count > 5"}]}, True),
        ({"filters": [{"cesql": "missing = 'x'"}]}, False),
        ({"filters": [{"not": {"cesql": "missing = 'x'"}}]}, True),
        ({"filters": [{"cesql": "subject"}]}, False),
    ],
)
def test_filters(spec: dict[str, Any], passes: bool) -> None:
    assert parse_filters(spec).matches(EVENT) is passes


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"filter": {"attributes": {"Type": "x"}}}, "filter.attributes.Type: must start with a letter"),
        ({"filter": {"attributes": {"count": 7}}}, "filter.attributes.count: must be a text, found int; quote it"),
        ({"filters": {"exact": {}}}, "filters: must be a list of at least one filter"),
        ({"filters": [{}]}, "filters[0]: needs exactly one dialect of exact,"),
        ({"filters": [{"exact": {"id": "1"}, "prefix": {"id": "1"}}]}, "filters[0]: needs exactly one dialect"),
        ({"filters": [{"exakt": {"id": "1"}}]}, "filters[0].exakt: is no filter dialect; the dialects are exact"),
        ({"filters": [{"exact": {"id": ""}}]}, 'filters[0].exact.id: must not be empty; for "is there" use cesql'),
        ({"filters": [{"any": [{"not": {"suffix": {"a_b": "x"}}}]}]}, "filters[0].any[0].not.suffix.a_b: must start"),
        ({"filters": [{"cesql": "a ="}]}, "filters[0].cesql: expected a value at character 3, found the end"),
        ({"filters": [{"cesql": "LEN(id) = 1"}]}, "filters[0].cesql: no function LEN takes 1 arguments; the functions"),
        ({"filters": [{"cesql": 5}]}, "filters[0].cesql: must be a text, found int"),
    ],
)
def test_filter_errors(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filters(spec)
    assert str(caught.value).startswith(message)


def test_deep_filters_are_refused() -> None:
    nested: Any = {"exact": {"id": "1"}}
    for _ in range(2000):
        nested = {"not": nested}
    with pytest.raises(FilterError, match="nest more than"):
        parse_filters({"filters": [nested]})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0.2S", 0.2),
        ("PT1M30S", 90),
        ("PT1H", 3600),
        ("P1DT1S", 86401),
        ("P1W", 604800),
        ("PT0S", 0),
        ("PT1,5S", 1.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "P", "PT", "1S", "P1Y", "P1M", "PT-1S", "-PT1S", "P1DT", "PT1S1S", "0.2"])
def test_durations_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an ISO 8601 duration"):
        parse_duration(text)


EXPONENTIAL = Delivery(retry=3, backoff_policy="exponential", backoff_delay=0.2)
LINEAR = Delivery(retry=3, backoff_policy="linear", backoff_delay=0.2)


@pytest.mark.parametrize(
    ("delivery", "attempts", "status", "retry_after", "verdict"),
    [
        (EXPONENTIAL, 1, 200, None, Done()),
        (EXPONENTIAL, 1, 299, None, Done()),
        (EXPONENTIAL, 1, 500, None, Retry(0.2)),
        (EXPONENTIAL, 2, 500, None, Retry(0.4)),
        (EXPONENTIAL, 3, 500, None, Retry(0.8)),
        (EXPONENTIAL, 4, 500, None, GiveUp()),
        (LINEAR, 1, 503, None, Retry(0.0)),
        (LINEAR, 3, 503, None, Retry(0.4)),
        (Delivery(retry=1), 1, 502, None, Retry(0.0)),
        (Delivery(), 1, 500, None, GiveUp()),
        (LINEAR, 1, None, None, Retry(0.0)),
        *[(EXPONENTIAL, 1, status, None, Retry(0.2)) for status in (404, 408, 409, 429, 501, 599)],
        *[(EXPONENTIAL, 1, status, None, GiveUp()) for status in (100, 301, 400, 401, 403, 405, 410, 418, 422, 499)],
        (EXPONENTIAL, 1, 429, "5", Retry(5.0)),
        (EXPONENTIAL, 1, 503, "5", Retry(5.0)),
        (EXPONENTIAL, 1, 500, "5", Retry(0.2)),
        (EXPONENTIAL, 1, 429, "99999", Retry(60.0)),
        (EXPONENTIAL, 1, 429, "Fri, 02 Jan 2026 03:04:15 GMT", Retry(10.0)),
        (EXPONENTIAL, 1, 429, "soon", Retry(0.2)),
        (Delivery(retry=1, retry_after_max=0), 1, 429, "5", Retry(0.0)),
        (Delivery(retry=1, retry_after_max=2), 1, 429, "5", Retry(2.0)),
        (Delivery(retry=2000, backoff_policy="exponential", backoff_delay=1), 1999, 500, None, Retry(86400.0)),
    ],
)
def test_retries(delivery: Delivery, attempts: int, status: int | None, retry_after: str | None, verdict: Any) -> None:
    assert judge(delivery, attempts, status, retry_after, NOW.timestamp()) == verdict


def test_retry_after_that_makes_no_sense_is_none() -> None:
    for text in ("", "-5", "1.5", "٣", "Mon, 99 Zzz 2026 99:99:99 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert parse_retry_after(text, NOW.timestamp()) == 0.0


@pytest.mark.parametrize(
    ("before", "after"), [(None, 255), ("255", 254), (9, 8), ("2", 1), ("x", 255), ("300", 255), ("99999999999", 255)]
)
def test_time_to_live(before: Any, after: int) -> None:
    event = EVENT if before is None else EVENT.having(knativebrokerttl=before)
    kept = arrived(event, NOW)
    assert kept.attributes["knativebrokerttl"] == after
    assert kept.attributes["knativearrivaltime"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("ttl", ["1", "0", "-5", 1])
def test_time_to_live_used_up(ttl: Any) -> None:
    with pytest.raises(TtlExhausted):
        arrived(EVENT.having(knativebrokerttl=ttl), NOW)


def test_reply_inherits_the_time_to_live_whatever_it_claims() -> None:
    original = EVENT.having(knativebrokerttl=10)
    assert reply_arrived(EVENT.having(knativebrokerttl=200), original, NOW).attributes["knativebrokerttl"] == 9
    assert reply_arrived(EVENT, original, NOW).attributes["knativebrokerttl"] == 9
    with pytest.raises(TtlExhausted):
        reply_arrived(EVENT, EVENT.having(knativebrokerttl=1), NOW)


def test_replies() -> None:
    binary = [(f"ce-{name}".encode(), str(value).encode()) for name, value in EVENT.attributes.items()]
    found = reply_in(binary, b"")
    assert isinstance(found, Reply)
    assert found.event.type == EVENT.type
    assert reply_in([], b"") == NoReply()
    assert reply_in([(b"content-type", b"text/plain")], b"") == NoReply()
    assert isinstance(reply_in([(b"content-type", b"application/json")], b"{}"), BadReply)
    assert isinstance(reply_in(binary[1:], b"OK"), BadReply)


def test_error_extensions() -> None:
    short = error_extensions("http://x/", 503, b"sorry")
    assert short == {"knativeerrordest": "http://x/", "knativeerrorcode": 503, "knativeerrordata": "c29ycnk="}
    assert error_extensions("http://x/", None, b"")["knativeerrorcode"] == 500
    cut = str(error_extensions("http://x/", 500, bytes(5000))["knativeerrordata"])
    assert len(cut) == 1024
    assert base64.b64decode(cut) == bytes(768)


def test_headers_that_pass() -> None:
    headers = [(b"traceparent", b"00-1"), (b"x-request-id", b"r"), (b"knative-x", b"k"), (b"authorization", b"secret")]
    assert passed_on(headers) == {"traceparent": "00-1", "x-request-id": "r", "knative-x": "k"}
    assert reply_headers(
        [(b"x-b3-traceid", b"1"), (b"retry-after", b"1")], {"traceparent": "a", "x-request-id": "r"}
    ) == {
        "traceparent": "a",
        "x-b3-traceid": "1",
    }
    assert reply_headers([(b"traceparent", b"b")], {"traceparent": "a", "tracestate": "s"}) == {"traceparent": "b"}


def test_routes() -> None:
    rules = (("svc.cluster.local", "127.0.0.1:8080"),)
    assert route("http://a.b.svc.cluster.local/x?y=1", rules) == (
        "http://127.0.0.1:8080/x?y=1",
        "a.b.svc.cluster.local",
    )
    assert route("http://notsvc.cluster.local/", rules) == ("http://notsvc.cluster.local/", None)


def trigger(**spec: Any) -> dict[str, Any]:
    spec = {"broker": "default", "subscriber": {"uri": "http://127.0.0.1:9/"}, **spec}
    return {"kind": "Trigger", "metadata": {"name": "t"}, "spec": spec}


def test_delivery_is_parsed() -> None:
    sink = {"uri": "http://127.0.0.1:8/dead"}
    delivery = {
        "retry": 5,
        "backoffPolicy": "linear",
        "backoffDelay": "PT1S",
        "timeout": "PT2S",
        "retryAfterMax": "PT3S",
    }
    parsed = parse_trigger(trigger(delivery={**delivery, "deadLetterSink": sink, "format": "json"}))
    assert parsed.delivery == Delivery(5, "linear", 1.0, 2.0, 3.0, "http://127.0.0.1:8/dead", "json")
    assert (parsed.key, parsed.broker) == ("default/t", "default/default")


def test_delivery_of_trigger_and_broker() -> None:
    broker = Broker("default", "default", Delivery(retry=7, dead_letter_sink="http://sink/"))
    assert effective_delivery(parse_trigger(trigger()), broker) == broker.delivery
    assert effective_delivery(parse_trigger(trigger()), None) == DEFAULT_DELIVERY
    own = parse_trigger(trigger(delivery={"timeout": "PT1S"}))
    assert effective_delivery(own, broker) == Delivery(timeout=1.0, dead_letter_sink="http://sink/")
    assert parse_broker({"kind": "Broker", "metadata": {"name": "b"}}).delivery == DEFAULT_DELIVERY


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (trigger(broker=None), "Trigger default/t: spec.broker: is required"),
        (trigger(subscriber=None), "Trigger default/t: spec.subscriber: is required"),
        (trigger(subscriber={}), "Trigger default/t: spec.subscriber: must be an object with ref or uri"),
        (
            trigger(subscriber={"uri": "/relative"}),
            "Trigger default/t: spec.subscriber.uri: must be an absolute",
        ),
        (
            trigger(subscriber={"ref": {"kind": "Service", "name": "collect"}}),
            "Trigger default/t: spec.subscriber: the address of Service collect is not known yet",
        ),
        (trigger(delivery={"retires": 1}), "Trigger default/t: spec.delivery.retires: is not a field; the fields are"),
        (trigger(delivery={"retry": -1}), "Trigger default/t: spec.delivery.retry: must be a whole number from 0"),
        (
            trigger(delivery={"backoffDelay": "200ms"}),
            "Trigger default/t: spec.delivery.backoffDelay: must be an ISO",
        ),
        (trigger(delivery={"backoffPolicy": "fast"}), "Trigger default/t: spec.delivery.backoffPolicy: must be one of"),
        (trigger(delivery={"timeout": "PT0S"}), "Trigger default/t: spec.delivery.timeout: must be more than 0"),
        (trigger(filters=[{"cesql": "a ="}]), "Trigger default/t: spec.filters[0].cesql: expected a value"),
        ({"kind": "Broker"}, "must be a Trigger object, found Broker"),
    ],
)
def test_config_errors(item: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_trigger(item)
    assert str(caught.value).startswith(message)


def test_references_are_resolved_into_the_status() -> None:
    reference = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "collect"}
    item = trigger(subscriber={"ref": reference, "uri": "/events"}, delivery={"deadLetterSink": {"ref": reference}})
    resolved = resolve_addresses(item, lambda ref: f"http://{ref['name']}.{ref['namespace']}.svc.cluster.local")
    parsed = parse_trigger(resolved)
    assert parsed.subscriber == "http://collect.default.svc.cluster.local/events"
    assert parsed.delivery is not None
    assert parsed.delivery.dead_letter_sink == "http://collect.default.svc.cluster.local"
    assert "status" not in item
