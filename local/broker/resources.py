"""Brokers and Triggers as the data plane needs them, parsed from their Kubernetes objects.

The objects are those of `kubectl get -o json`. Whoever resolves references (Knative's controller on a cluster, the
supervisor here) writes the addresses into `status.subscriberUri` and `status.deadLetterSinkUri`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from local.broker.durations import parse_duration
from local.broker.errors import FieldError
from local.broker.filters import Filter, parse_filters

Object = Mapping[str, Any]
BackoffPolicy = Literal["exponential", "linear"]
Format = Literal["binary", "json"]

_DELIVERY_FIELDS = (
    "backoffDelay", "backoffPolicy", "deadLetterSink", "format", "retry", "retryAfterMax", "timeout",
)  # fmt: skip


class ResourceError(ValueError):
    """A Broker or a Trigger is invalid; the message names the object and the field."""


@dataclass(frozen=True, slots=True)
class DeliverySpec:
    """How events reach a subscriber: seconds, counts, and the dead letter sink's address.

    `backoff_policy` None retries at once, as Knative does if only `retry` is set. `timeout` is that of one attempt. For
    `timeout` and `retry_after_max`, None means the broker's own setting.
    """

    retry: int = 0
    backoff_policy: BackoffPolicy | None = None
    backoff_delay: float = 0.0
    timeout: float | None = None
    retry_after_max: float | None = None
    dead_letter_sink: str | None = None
    format: Format = "binary"


# Knative's config-br-defaults, for a Broker without spec.delivery.
DEFAULT_DELIVERY = DeliverySpec(retry=10, backoff_policy="exponential", backoff_delay=0.2)


@dataclass(frozen=True, slots=True)
class Broker:
    namespace: str
    name: str
    delivery: DeliverySpec = DEFAULT_DELIVERY

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Trigger:
    """`broker` is the Broker's key, `subscriber` an absolute URL, `delivery` None if the spec has none."""

    namespace: str
    name: str
    broker: str
    filter: Filter
    subscriber: str
    delivery: DeliverySpec | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


def effective_delivery(trigger: Trigger, broker: Broker | None) -> DeliverySpec:
    """A Trigger's delivery replaces its Broker's entirely, except that the dead letter sink may be inherited."""
    inherited = broker.delivery if broker is not None else DEFAULT_DELIVERY
    if trigger.delivery is None:
        return inherited
    if trigger.delivery.dead_letter_sink is None:
        return replace(trigger.delivery, dead_letter_sink=inherited.dead_letter_sink)
    return trigger.delivery


def parse_broker(item: Object) -> Broker:
    """A Broker from its Kubernetes object; ResourceError."""
    namespace, name, spec, status = _parse_metadata(item, "Broker")
    try:
        delivery = _delivery(spec, status)
    except FieldError as error:
        raise ResourceError(f"Broker {namespace}/{name}: spec.{error}") from None
    return Broker(namespace, name, DEFAULT_DELIVERY if delivery is None else delivery)


def parse_trigger(item: Object) -> Trigger:
    """A Trigger from its Kubernetes object; ResourceError."""
    namespace, name, spec, status = _parse_metadata(item, "Trigger")
    try:
        return _trigger(namespace, name, spec, status)
    except FieldError as error:
        raise ResourceError(f"Trigger {namespace}/{name}: spec.{error}") from None


def _trigger(namespace: str, name: str, spec: Object, status: Object) -> Trigger:
    broker = _broker_name(spec, namespace)
    subscriber = _address(spec.get("subscriber"), status.get("subscriberUri"), "subscriber")
    if subscriber is None:
        raise FieldError("subscriber", "is required")
    return Trigger(namespace, name, f"{namespace}/{broker}", parse_filters(spec), subscriber, _delivery(spec, status))


def resolve_addresses(item: Object, address_of: Callable[[Object], str]) -> dict[str, Any]:
    """A copy of a Broker or Trigger whose status has the addresses of its references, as a controller writes them.

    `address_of` returns the URL of a reference ({apiVersion, kind, name, namespace}, with the namespace filled in).
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


def _parse_metadata(item: Object, kind: str) -> tuple[str, str, Object, Object]:
    if not isinstance(item, Mapping) or item.get("kind", kind) != kind:
        actual = item.get("kind") if isinstance(item, Mapping) else type(item).__name__
        raise ResourceError(f"must be a {kind} object, found {actual}")
    metadata = item.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or not isinstance(name, str) or not name:
        raise ResourceError(f"{kind}: metadata.name is required")
    namespace = metadata.get("namespace") or "default"
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if not isinstance(spec, Mapping) or not isinstance(status, Mapping):
        raise ResourceError(f"{kind} {namespace}/{name}: spec and status must be objects")
    return str(namespace), name, spec, status


def _broker_name(spec: Object, namespace: str) -> str:
    reference = spec.get("brokerRef") or {}
    name = spec.get("broker") or (reference.get("name") if isinstance(reference, Mapping) else None)
    if not isinstance(name, str):
        raise FieldError("broker", "is required: the name of a Broker in the same namespace")
    if reference and reference.get("namespace", namespace) != namespace:
        raise FieldError("brokerRef.namespace", "must be the Trigger's own; links across namespaces are not supported")
    return name


def _delivery(spec: Object, status: Object) -> DeliverySpec | None:
    value = spec.get("delivery")
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise FieldError("delivery", f"must be an object, found {type(value).__name__}")
    for name in value:
        if name not in _DELIVERY_FIELDS:
            raise FieldError(f"delivery.{name}", f"is not a field; the fields are {', '.join(_DELIVERY_FIELDS)}")
    timeout = _seconds(value, "timeout")
    if timeout == 0:
        raise FieldError("delivery.timeout", "must be more than 0")
    return DeliverySpec(
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


def _count(spec: Object, name: str) -> int:
    value = spec.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FieldError(f"delivery.{name}", f"must be a whole number from 0, found {value!r}")
    return value


def _seconds(spec: Object, name: str) -> float | None:
    value = spec.get(name)
    if value is None:
        return None
    try:
        return parse_duration(value if isinstance(value, str) else repr(value))
    except ValueError as error:
        raise FieldError(f"delivery.{name}", str(error)) from None


def _one_of(spec: Object, name: str, choices: tuple[str, ...]) -> Any:
    value = spec.get(name)
    if value is not None and value not in choices:
        raise FieldError(f"delivery.{name}", f"must be one of {', '.join(choices)}, found {value!r}")
    return value


def _address(destination: Any, resolved: Any, field: str) -> str | None:
    """The destination's URL: the resolved address, or else the spec's own absolute uri."""
    if destination is None:
        return None
    if not isinstance(destination, Mapping) or not (destination.get("ref") or destination.get("uri")):
        raise FieldError(field, "must be an object with ref or uri")
    url = resolved or destination.get("uri")
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        reference = destination.get("ref") or {}
        if reference and not resolved:
            named = f"{reference.get('kind')} {reference.get('name')}"
            raise FieldError(field, f"the address of {named} is not known yet: the status has no URI for it")
        raise FieldError(f"{field}.uri", f"must be an absolute http URL, found {url!r}")
    return url
