"""What the serving part can be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Paths, addresses and limits. Times in seconds.

    `addresses` maps cluster hosts as manifests write them (`mlflow.ns.svc.cluster.local:5000`) to `host:port` of this
    machine; hosts of Knative Services need no entry. `interpreters` maps image prefixes to the Python that runs
    `python …` commands (the longest prefix wins, sys.executable otherwise). `env` is what every workload inherits.
    `default_service` (namespace, name) answers requests that name no service but 127.0.0.1 or localhost.
    `replica_cap` bounds max-scale (0: not at all). `port` 0 takes a free one. `excused` says of a moment of
    time.monotonic() whether a process that was started then may have ended for want of storage: such an end is no fault
    of its revision.
    """

    folder: Path
    cwd: Path
    port: int = 0
    host: str = "127.0.0.1"
    domain: str = "localhost"
    env: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    interpreters: Mapping[str, str] = field(default_factory=dict)
    default_service: tuple[str, str] | None = None
    replica_cap: int = 0
    queue_size: int = 10_000
    resync: float = 10.0
    progress_deadline: float = 600.0
    stop_grace: float = 30.0
    first_backoff: float = 0.5
    seed: int | None = None
    excused: Callable[[float], bool] = lambda since: False
