"""The settings of serving. Standard library only: `local/platform/port_allocation.py` reads them before set-up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

GATEWAY = "gateway"
"""The gateway's folder within the serving folder: its socket, its process, its log."""


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Paths, addresses and limits. Times in seconds.

    `addresses` maps cluster hosts as in the manifests (`mlflow.ns.svc.cluster.local:5000`) to `host:port` on this
    machine; hosts of Knative Services need no entry. `interpreters` maps image prefixes to the Python that runs
    `python …` commands (the longest prefix wins; otherwise sys.executable). Every workload inherits `env`.
    `default_service` (namespace, name) answers requests that name 127.0.0.1 or localhost instead of a service.
    `allowed_hosts` are additional names of this machine, a proxy's or a container's, in requests that name no service.
    `replica_cap` limits max-scale (0: no limit). `port` and `internal_port` 0 choose free ports. `excused` tells
    whether a process started at a moment of time.monotonic() may have failed because of storage, which is not its
    revision's fault.
    """

    folder: Path
    cwd: Path
    port: int = 0
    internal_port: int = 0
    host: str = "127.0.0.1"
    domain: str = "localhost"
    env: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    interpreters: Mapping[str, str] = field(default_factory=dict)
    default_service: tuple[str, str] | None = None
    allowed_hosts: tuple[str, ...] = ()
    replica_cap: int = 0
    queue_size: int = 10_000
    resync: float = 10.0
    progress_deadline: float = 600.0
    stop_grace: float = 30.0
    first_backoff: float = 0.5
    seed: int | None = None
    excused: Callable[[float], bool] = lambda since: False


def gateway_ports(folder: Path) -> tuple[int, int] | None:
    """The two ports that this folder's gateway listens on, or last listened on."""
    try:
        port, internal = json.loads((folder / GATEWAY / "ports.json").read_text())
        return int(port), int(internal)
    except (OSError, ValueError, TypeError):
        return None


def save_gateway_ports(folder: Path, ports: tuple[int, int]) -> None:
    """Saves them in a file that appears whole or not at all."""
    path = folder / GATEWAY / "ports.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(ports))
    part.replace(path)
