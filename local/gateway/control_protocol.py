"""The control protocol: the controller sends the gateway its whole state and gets load reports, as lines of JSON.

The gateway's first report of a connection has version 0; each later one names the version of the state in force, under
which the report is true.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from local.gateway.payload_logger import LoggerSpec
from local.serving.traffic import TrafficTarget

NamespacedName = tuple[str, str]
"""(namespace, name)"""

MAX_LINE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Route:
    """A service's traffic targets, where each revision's payloads are logged, and whether it is cluster-local."""

    targets: tuple[TrafficTarget, ...] = ()
    loggers: Mapping[str, LoggerSpec] = field(default_factory=dict)
    local: bool = False


@dataclass(frozen=True, slots=True)
class RevisionState:
    """A revision's ready replicas (ports by name), and what its requests need to know.

    `limit` is how many requests may be in flight to a replica (0: any number), `queue` how many may wait. Requests
    to a revision that `failed` get a 503. Each time `refusals` grows, the waiting requests get one with `message`.
    """

    timeout: float
    limit: int = 0
    queue: int = 10_000
    replicas: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""
    refusals: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """Everything the gateway knows.

    `domain` is that of the services' external names, `default` the service of a request that names none, `hosts` are
    additional names of this machine, `addresses` maps the cluster's hosts to addresses on this machine.
    """

    domain: str = "localhost"
    default: NamespacedName | None = None
    hosts: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[NamespacedName, Route] = field(default_factory=dict)
    revisions: Mapping[NamespacedName, RevisionState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RevisionLoad:
    """How busy a revision is: `busy` sums up requests × seconds since it is known, including waiting requests."""

    busy: float = 0.0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The version of the state in force, each revision's load, and the replicas' requests in flight.

    A replica that is not in `in_flight` has none.
    """

    version: int
    loads: Mapping[NamespacedName, RevisionLoad] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)


def encode_state(state: GatewayState, version: int) -> bytes:
    data = asdict(state)
    for name in ("routes", "revisions"):
        data[name] = _pairs(data[name])
    return _json_line({"version": version, "state": data})


def decode_state(line: bytes) -> tuple[GatewayState, int]:
    """ValueError, KeyError or TypeError if no controller of this version wrote it."""
    message = json.loads(line)
    data = message["state"]
    routes = {
        tuple(key): Route(
            tuple(TrafficTarget(**target) for target in route["targets"]),
            {name: _logger_spec(target) for name, target in route["loggers"].items()},
            route["local"],
        )
        for key, route in data.pop("routes")
    }
    revisions = {tuple(key): RevisionState(**revision) for key, revision in data.pop("revisions")}
    default = tuple(data.pop("default") or ()) or None
    hosts = tuple(data.pop("hosts"))
    state = GatewayState(**data, default=default, hosts=hosts, routes=routes, revisions=revisions)
    return state, int(message["version"])


def encode_report(report: LoadReport) -> bytes:
    return _json_line({**asdict(report), "loads": _pairs({key: asdict(load) for key, load in report.loads.items()})})


def decode_report(line: bytes) -> LoadReport:
    """ValueError, KeyError or TypeError if no gateway of this version wrote it."""
    message = json.loads(line)
    loads = {tuple(key): RevisionLoad(**load) for key, load in message["loads"]}
    return LoadReport(int(message["version"]), loads, message["in_flight"])


def _logger_spec(data: dict[str, Any]) -> LoggerSpec:
    return LoggerSpec(**{**data, "headers": tuple(data["headers"])})


def _pairs(mapping: Mapping[Any, Any]) -> Sequence[Any]:
    return [[list(key), value] for key, value in mapping.items()]


def _json_line(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"
