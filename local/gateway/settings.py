"""The gateway process's settings at startup. What may change while it runs comes with the state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAX_BODY = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds, sizes in bytes. `port` is the external listener, `internal_port` the cluster-local one.

    A body is read completely before a replica is reserved, so that a slow sender does not keep one busy; the limits are
    the same as the predictor's and the broker's.
    """

    socket: Path
    port: int
    internal_port: int
    host: str = "127.0.0.1"
    seed: int | None = None
    max_body: int = MAX_BODY
    max_head: int = 64 * 1024
    max_buffered: int = 256 * 2**20  # bodies of all requests together
    max_connections: int = 1024  # of each listener
    idle_timeout: float = 75.0  # between two requests of a connection
    head_timeout: float = 10.0
    body_timeout: float = 60.0
    half_closed: float = 1.0  # for the response to a client that has closed its half of the connection
    write_timeout: float = 60.0  # for a client that does not read its response
    state_timeout: float = 10.0  # for the controller's first state
    grace: float = 30.0  # for requests in flight at shutdown
