"""Brokers and Triggers as the data plane needs them, read from their Kubernetes objects.

The objects are those of `kubectl get -o json`: who resolves references (Knative's controller on a cluster, the
supervisor here) writes the addresses into `status.subscriberUri` and `status.deadLetterSinkUri`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from local.broker.durations import parse_duration
from local.broker.filters import Filter, FilterError, parse_filters

Object = Mapping[str, Any]
BackoffPolicy = Literal["exponential", "linear"]
Format = Literal["binary", "json"]

_DELIVERY_FIELDS = (
    "backoffDelay", "backoffPolicy", "deadLetterSink", "format", "retry", "retryAfterMax", "timeout",
)  # fmt: skip


class ConfigError(ValueError):
    """A Broker or a Trigger is not usable; the message names the object and the field."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How events reach a subscriber: seconds, counts, and the dead letter sink's address.

    `backoff_policy` None retries at once, as Knative does where only `retry` is set. `timeout` is one attempt's; None
    leaves it to the broker's setting, and so does `retry_after_max`.
    """

    retry: int = 0
    backoff_policy: BackoffPolicy | None = None
    backoff_delay: float = 0.0
    timeout: float | None = None
    retry_after_max: float | None = None
    dead_letter_sink: str | None = None
    format: Format = "binary"


# What Knative's config-br-defaults gives a Broker that has no spec.delivery.
DEFAULT_DELIVERY = Delivery(retry=10, backoff_policy="exponential", backoff_delay=0.2)


@dataclass(frozen=True, slots=True)
class Broker:
    namespace: str
    name: str
    delivery: Delivery = DEFAULT_DELIVERY

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Trigger:
    """`broker` is the Broker's key, `subscriber` an absolute URL, `delivery` None where the spec has none."""

    namespace: str
    name: str
    broker: str
    filter: Filter
    subscriber: str
    delivery: Delivery | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


def effective_delivery(trigger: Trigger, broker: Broker | None) -> Delivery:
    """A Trigger's delivery replaces its Broker's wholly, but for the dead letter sink, which it may leave to it."""
    inherited = broker.delivery if broker is not None else DEFAULT_DELIVERY
    if trigger.delivery is None:
        return inherited
    if trigger.delivery.dead_letter_sink is None:
        return replace(trigger.delivery, dead_letter_sink=inherited.dead_letter_sink)
    return trigger.delivery


def parse_broker(item: Object) -> Broker:
    """A Broker from its Kubernetes object; ConfigError."""
    namespace, name, spec, status = _head(item, "Broker")
    try:
        delivery = _delivery(spec, status)
    except FilterError as error:
        raise ConfigError(f"Broker {namespace}/{name}: spec.{error}") from None
    return Broker(namespace, name, DEFAULT_DELIVERY if delivery is None else delivery)


def parse_trigger(item: Object) -> Trigger:
    """A Trigger from its Kubernetes object; ConfigError."""
    namespace, name, spec, status = _head(item, "Trigger")
    try:
        broker = _broker_name(spec, namespace)
        subscriber = _address(spec.get("subscriber"), status.get("subscriberUri"), "subscriber")
        if subscriber is None:
            raise FilterError("subscriber", "is required")
        trigger = Trigger(namespace, name, f"{namespace}/{broker}", parse_filters(spec), subscriber)
        return replace(trigger, delivery=_delivery(spec, status))
    except FilterError as error:
        raise ConfigError(f"Trigger {namespace}/{name}: spec.{error}") from None


def resolve_addresses(item: Object, address_of: Callable[[Object], str]) -> dict[str, Any]:
    """A copy of a Broker or Trigger whose status holds the addresses of its references, as a controller writes them.

    `address_of` gives the URL of a reference ({apiVersion, kind, name, namespace}, the namespace filled in).
    """
    resolved = copy.deepcopy(dict(item))
    spec, namespace = resolved.get("spec") or {}, resolved["metadata"].get("namespace", "default")
    status = resolved.setdefault("status", {})
    for destination, field in (
        (spec.get("subscriber"), "subscriberUri"),
        ((spec.get("delivery") or {}).get("deadLetterSink"), "deadLetterSinkUri"),
    ):
        if not destination:
            continue
        uri, ref = destination.get("uri"), destination.get("ref")
        base = address_of({"namespace": namespace, **{k: v for k, v in ref.items() if v}}) if ref else ""
        status[field] = urljoin(base, uri) if uri else base
    return resolved


def _head(item: Object, kind: str) -> tuple[str, str, Object, Object]:
    if not isinstance(item, Mapping) or item.get("kind", kind) != kind:
        found = item.get("kind") if isinstance(item, Mapping) else type(item).__name__
        raise ConfigError(f"must be a {kind} object, found {found}")
    metadata = item.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or not isinstance(name, str) or not name:
        raise ConfigError(f"{kind}: metadata.name is required")
    namespace = metadata.get("namespace") or "default"
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if not isinstance(spec, Mapping) or not isinstance(status, Mapping):
        raise ConfigError(f"{kind} {namespace}/{name}: spec and status must be objects")
    return str(namespace), name, spec, status


def _broker_name(spec: Object, namespace: str) -> str:
    reference = spec.get("brokerRef") or {}
    name = spec.get("broker") or (reference.get("name") if isinstance(reference, Mapping) else None)
    if not isinstance(name, str):
        raise FilterError("broker", "is required: the name of a Broker in the same namespace")
    if reference and reference.get("namespace", namespace) != namespace:
        raise FilterError("brokerRef.namespace", "must be the Trigger's own; links across namespaces are not supported")
    return name


def _delivery(spec: Object, status: Object) -> Delivery | None:
    value = spec.get("delivery")
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise FilterError("delivery", f"must be an object, found {type(value).__name__}")
    for name in value:
        if name not in _DELIVERY_FIELDS:
            raise FilterError(f"delivery.{name}", f"is not a field; the fields are {', '.join(_DELIVERY_FIELDS)}")
    timeout = _seconds(value, "timeout")
    if timeout == 0:
        raise FilterError("delivery.timeout", "must be more than 0")
    return Delivery(
        retry=_count(value, "retry"),
        backoff_policy=_one_of(value, "backoffPolicy", ("exponential", "linear")),
        backoff_delay=_seconds(value, "backoffDelay") or 0.0,
        timeout=timeout,
        retry_after_max=_seconds(value, "retryAfterMax"),
        dead_letter_sink=_address(
            value.get("deadLetterSink"), status.get("deadLetterSinkUri"), "delivery.deadLetterSink"
        ),
        format=_one_of(value, "format", ("binary", "json")) or "binary",
    )


def _count(value: Object, name: str) -> int:
    found = value.get(name)
    if found is None:
        return 0
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise FilterError(f"delivery.{name}", f"must be a whole number from 0, found {found!r}")
    return found


def _seconds(value: Object, name: str) -> float | None:
    found = value.get(name)
    if found is None:
        return None
    try:
        return parse_duration(found if isinstance(found, str) else repr(found))
    except ValueError as error:
        raise FilterError(f"delivery.{name}", str(error)) from None


def _one_of(value: Object, name: str, choices: tuple[str, ...]) -> Any:
    found = value.get(name)
    if found is not None and found not in choices:
        raise FilterError(f"delivery.{name}", f"must be one of {', '.join(choices)}, found {found!r}")
    return found


def _address(destination: Any, resolved: Any, field: str) -> str | None:
    """The destination's URL: what was resolved, else the spec's own absolute uri."""
    if destination is None:
        return None
    if not isinstance(destination, Mapping) or not (destination.get("ref") or destination.get("uri")):
        raise FilterError(field, "must be an object with ref or uri")
    url = resolved or destination.get("uri")
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        reference = destination.get("ref") or {}
        if reference and not resolved:
            named = f"{reference.get('kind')} {reference.get('name')}"
            raise FilterError(field, f"the address of {named} is not known yet: the status has no URI for it")
        raise FilterError(f"{field}.uri", f"must be an absolute http URL, found {url!r}")
    return url
