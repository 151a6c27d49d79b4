"""The events that went through the broker of a loop on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from mcqa import broker_client

if TYPE_CHECKING:
    import httpx2


class BrokerEvent(TypedDict):
    """An event as the broker lists it: its number, when it arrived in Unix seconds, its CloudEvents attributes."""

    seq: int
    arrived: float
    attributes: dict[str, Any]


def recent(broker: httpx2.Client, limit: int, type: str | None = None) -> list[BrokerEvent]:
    """The last events, of one type where it is given, the newest last."""
    query = {"limit": limit, **({"type": type} if type else {})}
    return list(reversed(broker_client.get(broker, "/-/events", query)["items"]))


def with_deliveries(broker: httpx2.Client, number: int) -> dict[str, Any]:
    """One event with its data and what became of each delivery."""
    event: dict[str, Any] = broker_client.get(broker, f"/-/events/{number}")
    return event
