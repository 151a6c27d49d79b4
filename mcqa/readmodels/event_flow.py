"""Who sends events of which type, and which Trigger passes them on: the catalogue and the Triggers as applied.

What a Trigger lets through is decided from what is known beforehand, the type and the source of an event; where
its filter asks for more, or a source is not known, the answer is "some".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from common.event_types import CATALOGUE, PING, EventType
from common.names import NAMESPACE

Share = Literal["all", "some"]
TIMEOUT = 3.0
_PINGSOURCE = "/pingsources/"


class Consumer(TypedDict):
    """A Trigger and whom it calls; `share`: all events of the type, or only some of them."""

    trigger: str
    subscriber: str
    share: Share


class TypeFlow(TypedDict):
    """`producers` are sources of events, or names of parts that choose their own."""

    type: str
    producers: list[str]
    consumers: list[Consumer]


class EventFlow(TypedDict):
    """`error`: why the Triggers are not known, where they are not; the types then have no consumers."""

    types: list[TypeFlow]
    error: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """A Trigger of the namespace: its name, its subscriber's and its spec."""

    name: str
    subscriber: str
    spec: Mapping[str, Any]


def read(environ: Mapping[str, str]) -> EventFlow:
    """The catalogue with its consumers by the Triggers in the Kubernetes API, on a laptop and on a cluster alike."""
    try:
        return flow(triggers(environ), "")
    except _UnavailableError as error:
        return flow((), str(error))


def flow(subscriptions: Iterable[Subscription], error: str) -> EventFlow:
    known = list(subscriptions)
    return {"types": [_type_flow(entry, known) for entry in CATALOGUE], "error": error}


class _UnavailableError(Exception):
    """The Triggers cannot be read."""


def triggers(environ: Mapping[str, str]) -> list[Subscription]:
    """The namespace's Triggers. `_UnavailableError` where there is no API, or it refuses."""
    import httpx2
    from lightkube import ApiError, Client, KubeConfig
    from lightkube.core.exceptions import ConfigError
    from lightkube.generic_resource import create_namespaced_resource

    kind: Any = create_namespaced_resource("eventing.knative.dev", "v1", "Trigger", "triggers")
    try:
        path = environ.get("KUBECONFIG")
        config = KubeConfig.from_file(path) if path else KubeConfig.from_service_account()
        client = Client(config=config, timeout=httpx2.Timeout(TIMEOUT))
        items = [dict(item) for item in client.list(kind, namespace=environ.get("MCQA_NAMESPACE") or NAMESPACE)]
    except (ApiError, httpx2.HTTPError, ConfigError, OSError) as error:
        raise _UnavailableError(" ".join(str(error).split())[:300] or type(error).__name__) from None
    return sorted(map(_subscription, items), key=lambda subscription: subscription.name)


def _subscription(item: Mapping[str, Any]) -> Subscription:
    spec = item.get("spec") or {}
    subscriber = spec.get("subscriber") or {}
    called = (subscriber.get("ref") or {}).get("name") or subscriber.get("uri") or ""
    return Subscription(str(item["metadata"]["name"]), str(called), spec)


def _type_flow(entry: EventType, known: Iterable[Subscription]) -> TypeFlow:
    consumers: list[Consumer] = []
    for subscription in known:
        if share := passes(subscription.spec, entry):
            consumers.append({"trigger": subscription.name, "subscriber": subscription.subscriber, "share": share})
    return {"type": entry.type, "producers": list(entry.producers), "consumers": consumers}


def passes(spec: Mapping[str, Any], entry: EventType) -> Share | None:
    """Which events of the type a Trigger's filters let through; None for none of them."""
    # A producer that is not a source chooses its own, which is not known here.
    sources = {producer if producer.startswith("/") else None for producer in entry.producers}
    verdicts = {_passes(spec, {"type": entry.type, "source": source}) for source in sources}
    if verdicts == {True}:
        # Nobody else's pings: each schedule has its own source.
        return "some" if entry.type == PING and _mentions_source(spec) else "all"
    return None if verdicts == {False} else "some"


def _mentions_source(spec: Mapping[str, Any]) -> bool:
    return "'source'" in repr(spec.get("filters") or spec.get("filter"))


def _passes(spec: Mapping[str, Any], attributes: Mapping[str, str | None]) -> bool | None:
    """None: that depends on what is not known."""
    if filters := spec.get("filters"):
        return _all(_filter(item, attributes) for item in filters)
    wanted = (spec.get("filter") or {}).get("attributes") or {}
    return _all(_compare("exact" if value else "prefix", attributes, name, value) for name, value in wanted.items())


def _filter(item: Mapping[str, Any], attributes: Mapping[str, str | None]) -> bool | None:
    for dialect in ("exact", "prefix", "suffix"):
        if values := item.get(dialect):
            return _all(_compare(dialect, attributes, name, value) for name, value in values.items())
    if parts := item.get("all"):
        return _all(_filter(part, attributes) for part in parts)
    if parts := item.get("any"):
        inverse = _all(_not(_filter(part, attributes)) for part in parts)
        return _not(inverse)
    if part := item.get("not"):
        return _not(_filter(part, attributes))
    return None  # CESQL, or a dialect of a later version


def _compare(dialect: str, attributes: Mapping[str, str | None], name: str, value: str) -> bool | None:
    actual = attributes.get(name)
    if actual is None:
        # Sources that are not known here are a schedule's only where its type is.
        return False if _PINGSOURCE in value and attributes["type"] != PING else None
    return {"exact": actual == value, "prefix": actual.startswith(value), "suffix": actual.endswith(value)}[dialect]


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """Kleene's conjunction."""
    found = set(verdicts)
    return False if False in found else None if None in found else True


def _not(verdict: bool | None) -> bool | None:
    return None if verdict is None else not verdict
