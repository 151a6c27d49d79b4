"""Brokers and Triggers as parsed from their Kubernetes objects."""

from __future__ import annotations

from typing import Any

import pytest

from local.broker.resources import (
    DEFAULT_DELIVERY,
    Broker,
    DeliverySpec,
    ResourceError,
    effective_delivery,
    parse_broker,
    parse_trigger,
    resolve_addresses,
)


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
    assert parsed.delivery == DeliverySpec(5, "linear", 1.0, 2.0, 3.0, "http://127.0.0.1:8/dead", "json")
    assert (parsed.key, parsed.broker) == ("default/t", "default/default")


def test_delivery_of_trigger_and_broker() -> None:
    broker = Broker("default", "default", DeliverySpec(retry=7, dead_letter_sink="http://sink/"))
    assert effective_delivery(parse_trigger(trigger()), broker) == broker.delivery
    assert effective_delivery(parse_trigger(trigger()), None) == DEFAULT_DELIVERY
    own = parse_trigger(trigger(delivery={"timeout": "PT1S"}))
    assert effective_delivery(own, broker) == DeliverySpec(timeout=1.0, dead_letter_sink="http://sink/")
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
    with pytest.raises(ResourceError) as caught:
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
