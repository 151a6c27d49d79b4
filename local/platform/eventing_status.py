"""What Knative reports of a Broker, a Trigger and a PingSource, as pure functions; the conditions still without times.

Reasons are those of knative/eventing's `*_lifecycle.go` and reconcilers. A condition that Knative has not reached
yet keeps its previous value, Unknown at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.event_types import PING
from local.kube.resources import Object
from local.serving.conditions import Condition, get_condition, ready_condition

INGRESS = "broker-ingress.knative-eventing.svc.cluster.local"
_NO_OIDC = "authentication-oidc feature disabled"
_DEPENDENCY = "knative.dev/dependency"
_AFTER_BROKER = (
    "SubscriberResolved",
    "DeadLetterSinkResolved",
    "OIDCIdentityCreated",
    "SubscriptionReady",
    "DependencyReady",
)


@dataclass(frozen=True, slots=True)
class ResolvedReferences:
    """The addresses of an object's references, and why those that have none do not, both by the status field's name."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


def broker_address(namespace: str, name: str) -> str:
    """The cluster URL that takes a Broker's events."""
    return f"http://{INGRESS}/{namespace}/{name}"


def source_of(item: Object) -> str:
    """The CloudEvents source of a PingSource's events."""
    metadata = item["metadata"]
    return f"/apis/v1/namespaces/{metadata['namespace']}/pingsources/{metadata['name']}"


def broker_status(
    item: Object, references: ResolvedReferences, refused: str = "", *, answers: bool = True
) -> dict[str, Any]:
    """`answers`: the broker process does; `refused`: why it does not take this Broker, "" when it does."""
    ingress, filters, channel = (
        Condition(name, "True") for name in ("IngressReady", "FilterReady", "TriggerChannelReady")
    )
    if not answers:
        down = ("EndpointSlicesUnavailable", "The broker process does not answer.")
        ingress, filters = Condition("IngressReady", "False", *down), Condition("FilterReady", "False", *down)
        channel = get_condition(item, "TriggerChannelReady")
    elif refused:
        channel = Condition("TriggerChannelReady", "False", "ChannelFailure", refused)
    sink = _dead_letter_sink(references, "Info")
    addressable, policies = Condition("Addressable", "True"), _event_policies_ready()
    if sink.status == "False":
        addressable, policies = get_condition(item, "Addressable"), get_condition(item, "EventPoliciesReady")
    conditions = [channel, filters, ingress, addressable, policies]
    metadata = item["metadata"]
    return {
        "observedGeneration": metadata["generation"],
        "address": {"name": "http", "url": broker_address(metadata["namespace"], metadata["name"])},
        "conditions": [ready_condition(*conditions), *conditions, sink],
        **references.addresses,
    }


def trigger_status(
    item: Object, broker: Object | None, references: ResolvedReferences, refused: str = ""
) -> dict[str, Any]:
    """`broker` is the Trigger's, None when there is none; `refused`: why the broker process does not take it."""
    conditions = {name: get_condition(item, name) for name in _AFTER_BROKER}
    conditions["BrokerReady"] = _broker_ready(item, broker)
    old = item.get("status") or {}
    addresses = {name: old[name] for name in ("subscriberUri", "deadLetterSinkUri") if old.get(name)}
    if broker is not None and conditions["BrokerReady"].status == "True":
        resolved, addresses = _subscription(item, broker, references, refused)
        conditions |= {condition.type: condition for condition in resolved}
    return {
        "observedGeneration": item["metadata"]["generation"],
        "conditions": [ready_condition(*conditions.values()), *conditions.values()],
        **addresses,
    }


def ping_source_status(item: Object, uri: str, problem: str) -> dict[str, Any]:
    """`uri` is its sink's, "" when it has none, which `problem` explains. Its adapter is the caller."""
    oidc = Condition("OIDCIdentityCreated", "True", _NO_OIDC)
    if problem:
        sink, deployed = Condition("SinkProvided", "False", "NotFound", problem), get_condition(item, "Deployed")
    else:
        sink, deployed = Condition("SinkProvided", "True"), Condition("Deployed", "True")
    status: dict[str, Any] = {
        "observedGeneration": item["metadata"]["generation"],
        "conditions": [ready_condition(oidc, deployed, sink), sink, deployed, oidc],
    }
    if not problem:
        status |= {"ceAttributes": [{"type": PING, "source": source_of(item)}], "sinkUri": uri}
    return status


def _event_policies_ready() -> Condition:
    message = 'Feature "authentication-oidc" must be enabled to support Authorization'
    return Condition("EventPoliciesReady", "True", "OIDCDisabled", message)


def _dead_letter_sink(references: ResolvedReferences, severity: str = "") -> Condition:
    name = "DeadLetterSinkResolved"
    if problem := references.problems.get("deadLetterSinkUri"):
        return Condition(name, "False", "Unable to get the dead letter sink's URI", problem, severity)
    if references.addresses.get("deadLetterSinkUri"):
        return Condition(name, "True", severity=severity)
    return Condition(name, "True", "DeadLetterSinkNotConfigured", "No dead letter sink is configured.", severity)


def _broker_ready(item: Object, broker: Object | None) -> Condition:
    if broker is not None:
        return get_condition(broker).with_type("BrokerReady")
    spec = item.get("spec") or {}
    name = spec.get("broker") or (spec.get("brokerRef") or {}).get("name")
    return Condition("BrokerReady", "False", "BrokerDoesNotExist", f'Broker "{name}" does not exist')


def _subscription(
    item: Object, broker: Object, references: ResolvedReferences, refused: str
) -> tuple[list[Condition], dict[str, str]]:
    """The conditions as far as a Trigger's reconciler gets with a ready Broker, and its addresses."""
    if problem := references.problems.get("subscriberUri"):
        reason = "Unable to get the Subscriber's URI"
        return [Condition("SubscriberResolved", "False", reason, problem)], {}
    inherited = (broker.get("status") or {}).get("deadLetterSinkUri")
    if inherited and "deadLetterSinkUri" not in {**references.addresses, **references.problems}:
        references = ResolvedReferences({**references.addresses, "deadLetterSinkUri": inherited}, references.problems)
    conditions = [Condition("SubscriberResolved", "True"), _dead_letter_sink(references)]
    if conditions[-1].status == "True":
        subscribed = Condition("SubscriptionReady", "False", "NotSubscribed", refused)
        conditions += [
            Condition("OIDCIdentityCreated", "True", _NO_OIDC),
            subscribed if refused else Condition("SubscriptionReady", "True"),
            _dependency(item),
        ]
    return conditions, dict(references.addresses)


def _dependency(item: Object) -> Condition:
    if _DEPENDENCY not in (item["metadata"].get("annotations") or {}):
        return Condition("DependencyReady", "True")
    return Condition("DependencyReady", "Unknown", "DependencyUnknown", f"{_DEPENDENCY} is not followed here")
