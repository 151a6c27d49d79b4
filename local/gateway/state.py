"""What the controller tells the gateway, whole each time, and what the gateway tells back; as lines of JSON.

The gateway's first line of a connection comes with version 0, each later one names the state that is in force: what is
reported with it is true under that state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from local.gateway.payloads import LogTarget
from local.serving.traffic import Target

Key = tuple[str, str]
"""(namespace, name)"""

LIMIT = 16 * 2**20
"""A line's size at most, in bytes."""


@dataclass(frozen=True, slots=True)
class Route:
    """A service's targets, where each revision's payloads are logged, and whether it is cluster-local."""

    targets: tuple[Target, ...] = ()
    loggers: Mapping[str, LogTarget] = field(default_factory=dict)
    local: bool = False


@dataclass(frozen=True, slots=True)
class RevisionState:
    """A revision's ready replicas, by name and port, and what its requests must know.

    `limit` is what a replica may be busy with at once (0: any number), `queue` how many requests may wait. Requests to
    a revision that `failed` get 503. Each time `refusals` grows, those that wait are told `message`.
    """

    timeout: float
    limit: int = 0
    queue: int = 10_000
    replicas: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""
    refusals: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """All that the gateway knows.

    `domain` is that of the services' outer names, `default` the service of a request that names none, `hosts` further
    names under which this machine is asked, `addresses` the cluster's hosts and where they are on this machine.
    """

    domain: str = "localhost"
    default: Key | None = None
    hosts: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[Key, Route] = field(default_factory=dict)
    revisions: Mapping[Key, RevisionState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a revision is: `busy` sums up requests × seconds since it is known, those that wait included."""

    busy: float = 0.0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The gateway's word: the version of the state in force, each revision's load, the replicas' requests in flight.

    A replica that is not in `in_flight` is busy with nothing.
    """

    version: int
    loads: Mapping[Key, Load] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)


def write_state(state: State, version: int) -> bytes:
    data = asdict(state)
    for name in ("routes", "revisions"):
        data[name] = _pairs(data[name])
    return _line({"version": version, "state": data})


def read_state(line: bytes) -> tuple[State, int]:
    """ValueError, KeyError, TypeError for what no controller of this version writes."""
    message = json.loads(line)
    data = message["state"]
    routes = {
        tuple(key): Route(
            tuple(Target(**target) for target in route["targets"]),
            {name: _log_target(target) for name, target in route["loggers"].items()},
            route["local"],
        )
        for key, route in data.pop("routes")
    }
    revisions = {tuple(key): RevisionState(**revision) for key, revision in data.pop("revisions")}
    default = tuple(data.pop("default") or ()) or None
    hosts = tuple(data.pop("hosts"))
    state = State(**data, default=default, hosts=hosts, routes=routes, revisions=revisions)
    return state, int(message["version"])


def write_report(report: Report) -> bytes:
    return _line({**asdict(report), "loads": _pairs({key: asdict(load) for key, load in report.loads.items()})})


def read_report(line: bytes) -> Report:
    """ValueError, KeyError, TypeError for what no gateway of this version writes."""
    message = json.loads(line)
    loads = {tuple(key): Load(**load) for key, load in message["loads"]}
    return Report(int(message["version"]), loads, message["in_flight"])


def _log_target(data: dict[str, Any]) -> LogTarget:
    return LogTarget(**{**data, "headers": tuple(data["headers"])})


def _pairs(found: Mapping[Any, Any]) -> Sequence[Any]:
    return [[list(key), value] for key, value in found.items()]


def _line(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"
