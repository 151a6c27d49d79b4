"""What Knative Eventing reports of Brokers, Triggers and PingSources, as it was read from a real cluster."""

from __future__ import annotations

from typing import Any

import pytest

from local.platform.eventing_status import ResolvedReferences, broker_status, ping_source_status, trigger_status
from local.serving.conditions import merge_conditions

DEAD = "http://dead-letters.ns.svc.cluster.local"
SUBSCRIBER = "http://f.ns.svc.cluster.local"
INGRESS = "http://broker-ingress.knative-eventing.svc.cluster.local/ns/default"
NO_OIDC = ("True", "authentication-oidc feature disabled", "")
NO_POLICIES = ("True", "OIDCDisabled", 'Feature "authentication-oidc" must be enabled to support Authorization')
NO_SINK = ("True", "DeadLetterSinkNotConfigured", "No dead letter sink is configured.")
TRUE, UNKNOWN = ("True", "", ""), ("Unknown", "", "")
DOWN = ("False", "EndpointSlicesUnavailable", "The broker process does not answer.")
NO_DEAD = ("False", "Unable to get the dead letter sink's URI", "Service ns/dead is not there")
NO_SUBSCRIBER = ("False", "Unable to get the Subscriber's URI", "Service ns/f is not there")


def item(name: str = "default", status: Any = None, annotations: Any = None, **spec: Any) -> Any:
    metadata = {"name": name, "namespace": "ns", "generation": 3, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": spec, "status": stored(status) if status else {}}


def stored(status: Any) -> Any:
    return {**status, "conditions": merge_conditions((), status["conditions"], "2026-01-01T00:00:00Z")}


def said(status: Any) -> Any:
    return {c.type: (c.status, c.reason, c.message, *filter(None, [c.severity])) for c in status["conditions"]}


RESOLVED = ResolvedReferences({"deadLetterSinkUri": DEAD})
LOST = ResolvedReferences(problems={"deadLetterSinkUri": "Service ns/dead is not there"})
WELL = broker_status(item(), RESOLVED)


def broker(**changed: Any) -> Any:
    return {
        "Ready": TRUE,
        "Addressable": TRUE,
        "DeadLetterSinkResolved": (*TRUE, "Info"),
        "EventPoliciesReady": NO_POLICIES,
        "FilterReady": TRUE,
        "IngressReady": TRUE,
        "TriggerChannelReady": TRUE,
        **changed,
    }


@pytest.mark.parametrize(
    ("before", "references", "refused", "answers", "expected"),
    [
        (None, RESOLVED, "", True, broker()),
        (None, ResolvedReferences(), "", True, broker(DeadLetterSinkResolved=(*NO_SINK, "Info"))),
        (WELL, RESOLVED, "", False, broker(Ready=DOWN, FilterReady=DOWN, IngressReady=DOWN)),
        (
            None,
            RESOLVED,
            "",
            False,
            broker(Ready=DOWN, FilterReady=DOWN, IngressReady=DOWN, TriggerChannelReady=UNKNOWN),
        ),
        (
            None,
            RESOLVED,
            "retry: too many",
            True,
            broker(
                Ready=("False", "ChannelFailure", "retry: too many"),
                TriggerChannelReady=("False", "ChannelFailure", "retry: too many"),
            ),
        ),
        # Its dead letters do not make a Broker unready, but a new one is not addressable before they have a place.
        (
            None,
            LOST,
            "",
            True,
            broker(
                Ready=UNKNOWN,
                Addressable=UNKNOWN,
                EventPoliciesReady=UNKNOWN,
                DeadLetterSinkResolved=(*NO_DEAD, "Info"),
            ),
        ),
        (WELL, LOST, "", True, broker(DeadLetterSinkResolved=(*NO_DEAD, "Info"))),
    ],
)
def test_a_broker(before: Any, references: Any, refused: Any, answers: Any, expected: Any) -> None:
    status = broker_status(item(status=before), references, refused, answers=answers)
    assert said(status) == expected
    assert status["address"] == {"name": "http", "url": INGRESS}
    assert status["observedGeneration"] == 3
    assert status.get("deadLetterSinkUri") == references.addresses.get("deadLetterSinkUri")


def trigger(**changed: Any) -> Any:
    return {
        "Ready": TRUE,
        "BrokerReady": TRUE,
        "DeadLetterSinkResolved": TRUE,
        "DependencyReady": TRUE,
        "OIDCIdentityCreated": NO_OIDC,
        "SubscriberResolved": TRUE,
        "SubscriptionReady": TRUE,
        **changed,
    }


FOUND = ResolvedReferences({"subscriberUri": SUBSCRIBER})
BROKER = item(status=WELL)
BARE = item(status=broker_status(item(), ResolvedReferences()))
DOWN_BROKER = item(status=broker_status(item(status=WELL), RESOLVED, answers=False))
SUBSCRIBED = trigger_status(item("t"), BROKER, FOUND)
NOT_LOOKED_AT = dict.fromkeys(
    ("DeadLetterSinkResolved", "DependencyReady", "OIDCIdentityCreated", "SubscriberResolved", "SubscriptionReady"),
    UNKNOWN,
)
NO_BROKER = ("False", "BrokerDoesNotExist", 'Broker "default" does not exist')
BOTH = {"subscriberUri": SUBSCRIBER, "deadLetterSinkUri": DEAD}


@pytest.mark.parametrize(
    ("before", "of", "references", "refused", "expected", "addresses"),
    [
        (None, BROKER, FOUND, "", trigger(), BOTH),
        (None, BARE, FOUND, "", trigger(DeadLetterSinkResolved=NO_SINK), {"subscriberUri": SUBSCRIBER}),
        (None, BARE, ResolvedReferences(BOTH), "", trigger(), BOTH),
        (None, None, FOUND, "", trigger(**NOT_LOOKED_AT, BrokerReady=NO_BROKER, Ready=NO_BROKER), {}),
        (None, DOWN_BROKER, FOUND, "", trigger(**NOT_LOOKED_AT, BrokerReady=DOWN, Ready=DOWN), {}),
        (SUBSCRIBED, DOWN_BROKER, FOUND, "", trigger(BrokerReady=DOWN, Ready=DOWN), BOTH),
        (
            None,
            BROKER,
            ResolvedReferences(problems={"subscriberUri": "Service ns/f is not there"}),
            "",
            trigger(**{**NOT_LOOKED_AT, "SubscriberResolved": NO_SUBSCRIBER, "Ready": NO_SUBSCRIBER}),
            {},
        ),
        (
            None,
            BROKER,
            ResolvedReferences({"subscriberUri": SUBSCRIBER}, {"deadLetterSinkUri": "Service ns/dead is not there"}),
            "",
            trigger(
                **{**NOT_LOOKED_AT, "SubscriberResolved": TRUE, "DeadLetterSinkResolved": NO_DEAD, "Ready": NO_DEAD}
            ),
            {"subscriberUri": SUBSCRIBER},
        ),
        (
            None,
            BROKER,
            FOUND,
            "filters: bad",
            trigger(
                SubscriptionReady=("False", "NotSubscribed", "filters: bad"),
                Ready=("False", "NotSubscribed", "filters: bad"),
            ),
            BOTH,
        ),
    ],
)
def test_a_trigger(before: Any, of: Any, references: Any, refused: Any, expected: Any, addresses: Any) -> None:
    status = trigger_status(item("t", before, broker="default"), of, references, refused)
    assert said(status) == expected
    assert {name: status[name] for name in status if name.endswith("Uri")} == addresses


def test_a_dependency_is_not_claimed() -> None:
    status = trigger_status(item("t", annotations={"knative.dev/dependency": "{}"}), BROKER, FOUND)
    assert said(status)["DependencyReady"][:2] == said(status)["Ready"][:2] == ("Unknown", "DependencyUnknown")


def test_a_ping_source() -> None:
    status = ping_source_status(item("p"), INGRESS, "")
    assert said(status) == {"Ready": TRUE, "Deployed": TRUE, "OIDCIdentityCreated": NO_OIDC, "SinkProvided": TRUE}
    source = "/apis/v1/namespaces/ns/pingsources/p"
    assert status["ceAttributes"] == [{"type": "dev.knative.sources.ping", "source": source}]
    assert status["sinkUri"] == INGRESS
    lost = ping_source_status(item("p"), "", "Broker ns/default is not there")
    assert said(lost)["SinkProvided"] == said(lost)["Ready"] == ("False", "NotFound", "Broker ns/default is not there")
    assert said(lost)["Deployed"] == UNKNOWN
    assert not {"sinkUri", "ceAttributes"} & set(lost)
    later = ping_source_status(item("p", status), "", "Broker ns/default is not there")
    assert said(later)["Deployed"] == TRUE
