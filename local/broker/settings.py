"""The broker's settings, with the reason for each default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds, sizes in bytes.

    `connect_to` sends requests for hosts under a domain to another address and keeps the Host header, like curl's
    --connect-to: for the cluster's names (`svc.cluster.local`) behind one gateway.
    """

    database: Path
    max_body: int = 4 * 2**20  # of an event; the payload logger sends whole requests and responses
    concurrency: int = 16  # requests in flight to one subscriber
    window: int = 1000  # deliveries of one queue in memory
    window_bytes: int = 64 * 2**20
    attempt_timeout: float = 60.0  # if spec.delivery.timeout is unset; a cold start takes a few seconds
    connect_to: tuple[tuple[str, str], ...] = ()
    keep_for: float = DAY  # delivered events
    keep_events: int = 100_000
    keep_dead_for: float = 30 * DAY
    prune_every: float = 60.0
    grace: float = 5.0  # for requests in flight at shutdown
